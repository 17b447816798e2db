// Linear layers of many rows and their gradients, for one instruction set: MindSpore's products stay with AVX2. Every
// number of a result is summed in the same order, however many threads there are. Included by isa.cpp.
#pragma once

#include "kernels.h"
#include "matmul.h"
#include "scratch.h"
#include "simd.h"
#include "thread_pool.h"

namespace {

constexpr int64_t kPanel = 3 * Vec::width;  // outputs that one pass over a row computes
constexpr int64_t kRowsAtOnce = 96;         // a multiple of every height of a register tile in matmul.h
constexpr int64_t kDepthAtOnce = 256;       // of a panel, which then stays in the first cache

// `count` rows of a matrix, `row` floats apart, turned to [depth, width]; the columns beyond count are 0.
inline void turn_panel(const float *matrix, int64_t row, int64_t depth, int64_t count, int64_t width, float *panel) {
  for (int64_t k0 = 0; k0 < depth; k0 += 16) {
    const int64_t k1 = k0 + 16 < depth ? k0 + 16 : depth;
    for (int64_t o = 0; o < width; ++o)
      for (int64_t k = k0; k < k1; ++k) panel[k * width + o] = o < count ? matrix[o * row + k] : 0.f;
  }
}

// `count` columns of a weight [depth, outputs], from `weight` on, as [depth, width]; the columns beyond count are 0.
inline void copy_panel(const float *weight, int64_t depth, int64_t outputs, int64_t count, int64_t width, float *panel) {
  for (int64_t k = 0; k < depth; ++k)
    for (int64_t o = 0; o < width; ++o) panel[k * width + o] = o < count ? weight[k * outputs + o] : 0.f;
}

inline void multiply_panel(const float *x, const float *panel, int64_t width, int64_t rows, int64_t depth, float *tile) {
  for (int64_t k = 0; k < depth; k += kDepthAtOnce)
    multiply_add({x + k, depth, 1}, panel + k * width, width, rows, depth - k < kDepthAtOnce ? depth - k : kDepthAtOnce,
                 width, tile, width);
}

// x [rows, depth] times a matrix [depth, outputs] + bias [outputs] or null -> output [rows, outputs]. The matrix comes in
// panels of kPanel columns: pack(first column, columns, columns rounded up, to).
template <typename Pack>
inline bool multiply_rows(int64_t rows, int64_t depth, int64_t outputs, const float *x, Pack pack, const float *bias,
                          float *output) {
  const int64_t panels = (outputs + kPanel - 1) / kPanel, blocks = (rows + kRowsAtOnce - 1) / kRowsAtOnce;
  const auto count_of = [&](int64_t p) { return outputs - p * kPanel < kPanel ? outputs - p * kPanel : kPanel; };
  Scratch scratch(panels * kPanel * depth + mindvideo::thread_count() * kRowsAtOnce * kPanel);
  if (!scratch.ok()) return false;
  float *const packed = scratch.get(), *const tiles = packed + panels * kPanel * depth;
  auto pack_one = [&](int64_t p, int) {
    pack(p * kPanel, count_of(p), round_up(count_of(p), Vec::width), packed + p * kPanel * depth);
  };
  mindvideo::parallel_for(panels, pack_one);
  auto block = [&](int64_t unit, int thread) {
    const int64_t first = unit * kRowsAtOnce, count = rows - first < kRowsAtOnce ? rows - first : kRowsAtOnce;
    float *const tile = tiles + thread * kRowsAtOnce * kPanel;
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t own = count_of(p), width = round_up(own, Vec::width);
      for (int64_t r = 0; r < count; ++r)
        for_vectors(own, [&](int64_t o, int n) {
          store(bias ? load(bias + p * kPanel + o, n) : Vec::zero(), tile + r * width + o, n);
        });
      multiply_panel(x + first * depth, packed + p * kPanel * depth, width, count, depth, tile);
      for (int64_t r = 0; r < count; ++r)
        for_vectors(own, [&](int64_t o, int n) {
          store(load(tile + r * width + o, n), output + (first + r) * outputs + p * kPanel + o, n);
        });
    }
  };
  mindvideo::parallel_for(blocks, block);
  return true;
}

// x [rows, depth], weight [outputs, depth], bias [outputs] -> output [rows, outputs].
bool dense_layer(int64_t rows, int64_t depth, int64_t outputs, const float *x, const float *weight, const float *bias,
                 float *output) {
  const auto pack = [&](int64_t first, int64_t count, int64_t width, float *to) {
    turn_panel(weight + first * depth, depth, depth, count, width, to);
  };
  return multiply_rows(rows, depth, outputs, x, pack, bias, output);
}

// gradient [rows, outputs], weight [outputs, depth] -> grad_x [rows, depth].
bool dense_layer_input_gradient(int64_t rows, int64_t depth, int64_t outputs, const float *gradient, const float *weight,
                                float *grad_x) {
  const auto pack = [&](int64_t first, int64_t count, int64_t width, float *to) {
    copy_panel(weight + first, outputs, depth, count, width, to);
  };
  return multiply_rows(rows, outputs, depth, gradient, pack, nullptr, grad_x);
}

constexpr int64_t kPanelsOfTile = 6;  // of the gradient of a weight; with kRowsAtOnce rows they stay in the second cache

// x [rows, depth], gradient [rows, outputs] -> grad_weight [outputs, depth], grad_bias [outputs].
bool dense_layer_weight_gradient(int64_t rows, int64_t depth, int64_t outputs, const float *x, const float *gradient,
                                 float *grad_weight, float *grad_bias) {
  const int64_t panels = (depth + kPanel - 1) / kPanel, groups = (panels + kPanelsOfTile - 1) / kPanelsOfTile;
  int64_t height = kRowsAtOnce;
  while (height > 24 && groups * ((outputs + height - 1) / height) < 4 * mindvideo::thread_count()) height -= 24;
  const int64_t blocks = (outputs + height - 1) / height;
  const int64_t of_left = kDepthAtOnce * height, of_panel = kDepthAtOnce * kPanel;
  const int64_t of_tile = height * kPanelsOfTile * kPanel, share = of_left + of_panel + of_tile + kRowsAtOnce;
  Scratch scratch(mindvideo::thread_count() * share);
  if (!scratch.ok()) return false;
  auto unit_body = [&](int64_t unit, int thread) {
    const int64_t first = unit / groups * height, count = outputs - first < height ? outputs - first : height;
    const int64_t first_panel = unit % groups * panels / groups, last_panel = (unit % groups + 1) * panels / groups;
    float *const left = scratch.get() + thread * share, *const panel = left + of_left, *const tile = panel + of_panel;
    float *const sums = tile + of_tile;
    for (int64_t i = 0; i < of_tile + kRowsAtOnce; ++i) tile[i] = 0.f;
    for (int64_t n = 0; n < rows; n += kDepthAtOnce) {
      const int64_t terms = rows - n < kDepthAtOnce ? rows - n : kDepthAtOnce;
      copy_panel(gradient + n * outputs + first, terms, outputs, count, height, left);
      if (first_panel == 0)
        for_vectors(count, [&](int64_t o, int m) {
          Vec sum = Vec::zero();
          for (int64_t k = 0; k < terms; ++k) sum = sum + load(left + k * height + o, m);
          store(load(sums + o, m) + sum, sums + o, m);
        });
      for (int64_t p = first_panel; p < last_panel; ++p) {
        const int64_t own = depth - p * kPanel < kPanel ? depth - p * kPanel : kPanel, width = round_up(own, Vec::width);
        copy_panel(x + n * depth + p * kPanel, terms, depth, own, width, panel);
        multiply_add({left, 1, height}, panel, width, count, terms, width, tile + (p - first_panel) * height * kPanel,
                     width);
      }
    }
    for (int64_t p = first_panel; p < last_panel; ++p) {
      const int64_t own = depth - p * kPanel < kPanel ? depth - p * kPanel : kPanel, width = round_up(own, Vec::width);
      for (int64_t o = 0; o < count; ++o)
        for_vectors(own, [&](int64_t k, int m) {
          store(load(tile + (p - first_panel) * height * kPanel + o * width + k, m),
                grad_weight + (first + o) * depth + p * kPanel + k, m);
        });
    }
    if (first_panel == 0)
      for (int64_t o = 0; o < count; ++o) grad_bias[first + o] = sums[o];
  };
  mindvideo::parallel_for(blocks * groups, unit_body);
  return true;
}

}  // namespace
