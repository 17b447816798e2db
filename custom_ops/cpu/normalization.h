// Layer and group normalisation for one instruction set. Included by isa.cpp.
#pragma once

#include <cmath>
#include <cstring>

#include "kernels.h"
#include "scratch.h"
#include "simd.h"
#include "thread_pool.h"

namespace {

using mindvideo::GroupShape;

struct Moments {
  float mean, scale;  // scale = 1 / sqrt(variance + epsilon)
};

// Sum of f(offset, n) over a row; four sums at a time hide the latency of the additions.
template <typename Term>
inline float sum_row(int64_t count, Term term) {
  Vec a = Vec::zero(), b = a, c = a, d = a;
  int64_t i = 0;
  for (; i + 4 * Vec::width <= count; i += 4 * Vec::width) {
    a = a + term(i, -1);
    b = b + term(i + Vec::width, -1);
    c = c + term(i + 2 * Vec::width, -1);
    d = d + term(i + 3 * Vec::width, -1);
  }
  for (; i + Vec::width <= count; i += Vec::width) a = a + term(i, -1);
  if (i < count) b = b + term(i, static_cast<int>(count - i));
  return ((a + b) + (c + d)).sum();
}

// The part of x that exists in a vector of n lanes, minus mean; the lanes beyond it stay 0.
inline Vec centred(Vec x, Vec mean, int n) {
  const Vec d = x - mean;
  if (n < 0) return d;
  float lanes[Vec::width];
  d.store(lanes);
  return Vec::load(lanes, n);
}

inline Moments row_moments(const float *x, int64_t count, float epsilon) {
  const float mean = sum_row(count, [&](int64_t i, int n) { return load(x + i, n); }) / static_cast<float>(count);
  const Vec m = Vec::all(mean);
  const float squares = sum_row(count, [&](int64_t i, int n) {
    const Vec d = centred(load(x + i, n), m, n);
    return d * d;
  });
  return {mean, 1.f / std::sqrt(squares / static_cast<float>(count) + epsilon)};
}

constexpr int64_t kRowsPerUnit = 64;

inline const float *row_with_residual(const float *x, const float *residual, int64_t channels, float *sum) {
  if (!residual) return x;
  for_vectors(channels, [&](int64_t c, int n) { store(load(x + c, n) + load(residual + c, n), sum + c, n); });
  return sum;
}

bool layer_norm_forward(int64_t rows, int64_t channels, float epsilon, const float *x, const float *residual,
                        const float *weight, const float *bias, float *output) {
  auto unit_body = [&](int64_t unit, int) {
    const int64_t end = (unit + 1) * kRowsPerUnit < rows ? (unit + 1) * kRowsPerUnit : rows;
    for (int64_t r = unit * kRowsPerUnit; r < end; ++r) {
      float *y = output + r * channels;
      // The sum of x and the residual is kept where the result will stand.
      const float *row =
          row_with_residual(x + r * channels, residual ? residual + r * channels : nullptr, channels, y);
      const Moments moments = row_moments(row, channels, epsilon);
      const Vec mean = Vec::all(moments.mean), scale = Vec::all(moments.scale);
      for_vectors(channels, [&](int64_t c, int n) {
        store(((load(row + c, n) - mean) * scale).fma(load(weight + c, n), load(bias + c, n)), y + c, n);
      });
    }
  };
  mindvideo::parallel_for((rows + kRowsPerUnit - 1) / kRowsPerUnit, unit_body);
  return true;
}

struct RowGradients {
  float *grad_x, *weight_sum, *bias_sum;
};

inline void layer_norm_backward_row(const float *row, const float *weight, const float *gradient, int64_t channels,
                                    float epsilon, RowGradients to) {
  const Moments moments = row_moments(row, channels, epsilon);
  const Vec mean = Vec::all(moments.mean), scale = Vec::all(moments.scale);
  const float of_mean =
      sum_row(channels, [&](int64_t c, int n) { return load(gradient + c, n) * load(weight + c, n); });
  const float of_scale = sum_row(channels, [&](int64_t c, int n) {
    return load(gradient + c, n) * load(weight + c, n) * ((load(row + c, n) - mean) * scale);
  });
  const Vec a = Vec::all(of_mean / static_cast<float>(channels)), b = Vec::all(of_scale / static_cast<float>(channels));
  for_vectors(channels, [&](int64_t c, int n) __attribute__((always_inline)) {
    const Vec g = load(gradient + c, n), normalised = (load(row + c, n) - mean) * scale;
    store((g * load(weight + c, n) - a - normalised * b) * scale, to.grad_x + c, n);
    store(g.fma(normalised, load(to.weight_sum + c, n)), to.weight_sum + c, n);
    store(g + load(to.bias_sum + c, n), to.bias_sum + c, n);
  });
}

bool layer_norm_backward(int64_t rows, int64_t channels, float epsilon, const float *x, const float *residual,
                         const float *weight, const float *gradient, float *grad_x, float *grad_weight,
                         float *grad_bias) {
  // The same chunks whatever the number of threads is, so that sums come out the same.
  const int64_t chunks = rows < 64 ? rows : 64, share = round_up(3 * channels, 16);
  Scratch scratch(chunks * share);
  if (!scratch.ok()) return false;
  auto chunk_body = [&](int64_t chunk, int) {
    float *weight_sum = scratch.get() + chunk * share, *bias_sum = weight_sum + channels, *sum = bias_sum + channels;
    std::memset(weight_sum, 0, 2 * channels * sizeof(float));
    for (int64_t r = chunk * rows / chunks; r < (chunk + 1) * rows / chunks; ++r) {
      const int64_t at = r * channels;
      const float *row = row_with_residual(x + at, residual ? residual + at : nullptr, channels, sum);
      layer_norm_backward_row(row, weight, gradient + at, channels, epsilon, {grad_x + at, weight_sum, bias_sum});
    }
  };
  mindvideo::parallel_for(chunks, chunk_body);
  for (int64_t c = 0; c < channels; ++c) {
    double weight_total = 0, bias_total = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      weight_total += scratch.get()[chunk * share + c];
      bias_total += scratch.get()[chunk * share + channels + c];
    }
    grad_weight[c] = static_cast<float>(weight_total), grad_bias[c] = static_cast<float>(bias_total);
  }
  return true;
}

// Mean and scale of a long run of numbers in one pass over memory: the moments of each block, merged in double.
inline Moments long_moments(const float *x, int64_t count, float epsilon) {
  double mean = 0, squares = 0, seen = 0;
  for (int64_t first = 0; first < count; first += 2048) {
    const int64_t n_block = count - first < 2048 ? count - first : 2048;
    const float *p = x + first;
    const float sum = sum_row(n_block, [&](int64_t i, int n) { return load(p + i, n); });
    const float block_mean = sum / static_cast<float>(n_block);
    const Vec m = Vec::all(block_mean);
    const float block_squares = sum_row(n_block, [&](int64_t i, int n) {
      const Vec d = centred(load(p + i, n), m, n);
      return d * d;
    });
    const double size = static_cast<double>(n_block), delta = block_mean - mean, total = seen + size;
    squares += block_squares + delta * delta * seen * size / total;
    mean += delta * size / total;
    seen = total;
  }
  return {static_cast<float>(mean), static_cast<float>(1.0 / std::sqrt(squares / seen + epsilon))};
}

bool group_norm_forward(const GroupShape &s, const float *x, const float *weight, const float *bias, float *output) {
  const int64_t group_channels = s.C / s.groups;
  auto unit_body = [&](int64_t unit, int) {
    const int64_t first_channel = unit % s.groups * group_channels, at = unit * group_channels * s.positions;
    const Moments moments = long_moments(x + at, group_channels * s.positions, s.epsilon);
    for (int64_t c = 0; c < group_channels; ++c) {
      const float scale = moments.scale * weight[first_channel + c];
      const Vec a = Vec::all(scale), mean = Vec::all(moments.mean), b = Vec::all(bias[first_channel + c]);
      const float *from = x + at + c * s.positions;
      float *to = output + at + c * s.positions;
      for_vectors(s.positions, [&](int64_t i, int n) __attribute__((always_inline)) {
        const Vec y = (load(from + i, n) - mean).fma(a, b);
        store(s.relu ? y.where_positive(y) : y, to + i, n);
      });
    }
  };
  mindvideo::parallel_for(s.B * s.groups, unit_body);
  return true;
}

// The gradient that passes the ReLU: y is recomputed exactly as in the forward pass.
struct Gate {
  Vec mean, a, b;
  bool relu;
  Vec operator()(Vec x, Vec gradient) const {
    return relu ? gradient.where_positive((x - mean).fma(a, b)) : gradient;
  }
};

// Sums of g and of g * (x - mean) over one channel, in blocks merged in double.
inline void channel_sums(const float *x, const float *gradient, int64_t positions, const Gate &gate, double sums[2]) {
  sums[0] = sums[1] = 0;
  for (int64_t first = 0; first < positions; first += 2048) {
    const int64_t count = positions - first < 2048 ? positions - first : 2048;
    const float *px = x + first, *pg = gradient + first;
    sums[0] += sum_row(count, [&](int64_t i, int n) { return gate(load(px + i, n), load(pg + i, n)); });
    sums[1] += sum_row(count, [&](int64_t i, int n) {
      const Vec xi = load(px + i, n);
      return gate(xi, load(pg + i, n)) * (xi - gate.mean);
    });
  }
}

bool group_norm_backward(const GroupShape &s, const float *x, const float *weight, const float *bias,
                         const float *gradient, float *grad_x, float *grad_weight, float *grad_bias) {
  const int64_t group_channels = s.C / s.groups;
  Scratch scratch(2 * s.B * s.C);  // per image and channel: the shares of grad_weight and grad_bias
  if (!scratch.ok()) return false;
  auto unit_body = [&](int64_t unit, int) {
    const int64_t b = unit / s.groups, first_channel = unit % s.groups * group_channels;
    const int64_t at = unit * group_channels * s.positions;
    const Moments moments = long_moments(x + at, group_channels * s.positions, s.epsilon);
    double of_mean = 0, of_scale = 0;
    for (int64_t c = 0; c < group_channels; ++c) {
      const int64_t channel = first_channel + c, from = at + c * s.positions;
      const Gate gate{Vec::all(moments.mean), Vec::all(moments.scale * weight[channel]), Vec::all(bias[channel]),
                      s.relu};
      double sums[2];
      channel_sums(x + from, gradient + from, s.positions, gate, sums);
      of_mean += sums[0] * weight[channel];
      of_scale += sums[1] * moments.scale * weight[channel];
      scratch.get()[2 * (b * s.C + channel)] = static_cast<float>(sums[1] * moments.scale);
      scratch.get()[2 * (b * s.C + channel) + 1] = static_cast<float>(sums[0]);
    }
    const double size = static_cast<double>(group_channels * s.positions);
    const Vec mean_part = Vec::all(static_cast<float>(of_mean / size * moments.scale));
    const Vec slope = Vec::all(static_cast<float>(of_scale / size * moments.scale * moments.scale));
    for (int64_t c = 0; c < group_channels; ++c) {
      const int64_t channel = first_channel + c, from = at + c * s.positions;
      const Vec a = Vec::all(moments.scale * weight[channel]);
      const Gate gate{Vec::all(moments.mean), a, Vec::all(bias[channel]), s.relu};
      for_vectors(s.positions, [&](int64_t i, int n) __attribute__((always_inline)) {
        const Vec xi = load(x + from + i, n), g = gate(xi, load(gradient + from + i, n));
        store(g * a - mean_part - (xi - gate.mean) * slope, grad_x + from + i, n);
      });
    }
  };
  mindvideo::parallel_for(s.B * s.groups, unit_body);
  for (int64_t channel = 0; channel < s.C; ++channel) {
    double weight_total = 0, bias_total = 0;
    for (int64_t b = 0; b < s.B; ++b) {
      weight_total += scratch.get()[2 * (b * s.C + channel)];
      bias_total += scratch.get()[2 * (b * s.C + channel) + 1];
    }
    grad_weight[channel] = static_cast<float>(weight_total), grad_bias[channel] = static_cast<float>(bias_total);
  }
  return true;
}

}  // namespace
