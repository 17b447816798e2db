// Deformable convolution v1 for one instruction set: tiles of sampled columns, multiplied while they lie in the cache.
// Included by isa.cpp.
#pragma once

#include <cstring>

#include "bilinear.h"
#include "kernels.h"
#include "matmul.h"
#include "scratch.h"
#include "thread_pool.h"

namespace {

using mindvideo::ConvShape;

constexpr int64_t kTile = 32;  // output positions that are computed together

struct ConvSizes {
  explicit ConvSizes(const ConvShape &s)
      : taps(s.kernel_h * s.kernel_w),
        depth(taps * s.C),
        padded_depth(round_up(depth, Vec::width)),
        padded_outputs(round_up(s.outputs, Vec::width)),
        positions(s.out_h * s.out_w),
        tiles((positions + kTile - 1) / kTile),
        image(s.H * s.W * s.C) {}
  int64_t taps, depth, padded_depth, padded_outputs, positions, tiles, image;
};

// [C, pixels] -> [pixels, C], in blocks that keep both sides in the cache.
inline void channels_last(const float *from, int64_t channels, int64_t pixels, float *to) {
  for (int64_t p = 0; p < pixels; p += 16) {
    const int64_t stop = p + 16 < pixels ? p + 16 : pixels;
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t i = p; i < stop; ++i) to[i * channels + c] = from[c * pixels + i];
  }
}

inline void channels_first(const float *from, int64_t channels, int64_t pixels, float *to) {
  for (int64_t p = 0; p < pixels; p += 16) {
    const int64_t stop = p + 16 < pixels ? p + 16 : pixels;
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t i = p; i < stop; ++i) to[c * pixels + i] = from[i * channels + c];
  }
}

// weight [outputs, C, taps] -> [taps*C, padded outputs]; its transpose is [outputs, padded taps*C].
inline void pack_weight(const ConvShape &s, const ConvSizes &z, const float *weight, float *columns, float *rows) {
  std::memset(columns, 0, z.depth * z.padded_outputs * sizeof(float));
  if (rows) std::memset(rows, 0, s.outputs * z.padded_depth * sizeof(float));
  for (int64_t o = 0; o < s.outputs; ++o)
    for (int64_t c = 0; c < s.C; ++c)
      for (int64_t tap = 0; tap < z.taps; ++tap) {
        const float w = weight[(o * s.C + c) * z.taps + tap];
        columns[(tap * s.C + c) * z.padded_outputs + o] = w;
        if (rows) rows[o * z.padded_depth + tap * s.C + c] = w;
      }
}

// Positions of one tap for `count` outputs from `first` on.
inline void tap_positions(const ConvShape &s, const ConvSizes &z, const float *offset, int64_t tap, int64_t first,
                          int64_t count, SampleBlock &block) {
  const float *dy = offset + 2 * tap * z.positions + first, *dx = dy + z.positions;
  const int64_t ky = tap / s.kernel_w * s.dilation - s.padding, kx = tap % s.kernel_w * s.dilation - s.padding;
  int64_t i = first / s.out_w, j = first % s.out_w;
  for (int64_t p = 0; p < count; ++p) {
    block.y[p] = static_cast<float>(i * s.stride + ky) + dy[p];
    block.x[p] = static_cast<float>(j * s.stride + kx) + dx[p];
    if (++j == s.out_w) j = 0, ++i;
  }
  block.find_corners(count, static_cast<int32_t>(s.H), static_cast<int32_t>(s.W));
}

// Samples a tile: columns [kTile, padded depth] of one image in channels-last order.
inline void sample_tile(const ConvShape &s, const ConvSizes &z, const float *image, const float *offset, int64_t first,
                        int64_t count, const float *outside, float *columns) {
  SampleBlock block;
  for (int64_t tap = 0; tap < z.taps; ++tap) {
    tap_positions(s, z, offset, tap, first, count, block);
    for (int64_t p = 0; p < count; ++p) {
      float *to = columns + p * z.padded_depth + tap * s.C;
      if (!block.touches(p)) {
        std::memset(to, 0, s.C * sizeof(float));
        continue;
      }
      const float *pixel[4];
      float corner[4];
      block.pixels(p, image, s.C, outside, pixel);
      block.weights(p, corner);
      const Vec weight[4] = {Vec::all(corner[0]), Vec::all(corner[1]), Vec::all(corner[2]), Vec::all(corner[3])};
      for_vectors(s.C, [&](int64_t c, int n) __attribute__((always_inline)) { store(blend(pixel, weight, c, n), to + c, n); });
    }
  }
}

bool conv_forward(const ConvShape &s, const float *x, const float *offset, const float *weight, float *output) {
  const ConvSizes z(s);
  const int64_t threads = mindvideo::thread_count(), group = s.B < threads ? s.B : threads;
  const int64_t tile_size = kTile * (z.padded_depth + z.padded_outputs);
  Scratch packed(z.depth * z.padded_outputs), images(group * z.image + s.C), tiles(threads * tile_size);
  if (!packed.ok() || !images.ok() || !tiles.ok()) return false;
  pack_weight(s, z, weight, packed.get(), nullptr);
  float *outside = images.get() + group * z.image;
  std::memset(outside, 0, s.C * sizeof(float));
  std::memset(tiles.get(), 0, threads * tile_size * sizeof(float));

  for (int64_t b0 = 0; b0 < s.B; b0 += group) {
    const int64_t count = s.B - b0 < group ? s.B - b0 : group;
    auto transpose = [&](int64_t i, int) {
      channels_last(x + (b0 + i) * z.image, s.C, s.H * s.W, images.get() + i * z.image);
    };
    mindvideo::parallel_for(count, transpose);
    auto tile_body = [&](int64_t unit, int thread) {
      const int64_t i = unit / z.tiles, first = unit % z.tiles * kTile, b = b0 + i;
      const int64_t positions = z.positions - first < kTile ? z.positions - first : kTile;
      float *columns = tiles.get() + thread * tile_size, *result = columns + kTile * z.padded_depth;
      sample_tile(s, z, images.get() + i * z.image, offset + b * 2 * z.taps * z.positions, first, positions, outside,
                  columns);
      std::memset(result, 0, kTile * z.padded_outputs * sizeof(float));
      multiply_add({columns, z.padded_depth, 1}, packed.get(), z.padded_outputs, positions, z.depth, z.padded_outputs,
                   result, z.padded_outputs);
      for (int64_t o = 0; o < s.outputs; ++o) {
        float *to = output + (b * s.outputs + o) * z.positions + first;
        for (int64_t p = 0; p < positions; ++p) to[p] = result[p * z.padded_outputs + o];
      }
    };
    mindvideo::parallel_for(count * z.tiles, tile_body);
  }
  return true;
}

// What a chunk of the backward pass works in. All sizes in floats.
struct BackwardSpace {
  explicit BackwardSpace(const ConvShape &s, const ConvSizes &z)
      : columns(kTile * z.padded_depth), gradient(kTile * z.padded_outputs), weight(z.depth * z.padded_outputs),
        outside(round_up(2 * s.C, 16)), total(2 * columns + gradient + weight + 2 * z.image + outside) {}
  int64_t columns, gradient, weight, outside, total;
};

struct BackwardTensors {
  const float *x, *offset, *gradient, *weight_rows;
  float *grad_x, *grad_offset;
};

// Spreads the gradient of a tile's columns to the pixels and to the offsets.
inline void spread_tile(const ConvShape &s, const ConvSizes &z, const float *image, float *grad_image,
                        const float *offset, float *grad_offset, int64_t first, int64_t count, const float *grad_columns,
                        const float *outside, float *discarded) {
  SampleBlock block;
  for (int64_t tap = 0; tap < z.taps; ++tap) {
    tap_positions(s, z, offset, tap, first, count, block);
    float *to_y = grad_offset + 2 * tap * z.positions + first, *to_x = to_y + z.positions;
    for (int64_t p = 0; p < count; ++p) {
      to_y[p] = to_x[p] = 0.f;
      if (!block.touches(p)) continue;
      const float *pixel[4];
      float *grad_pixel[4], corner[4], dots[4];
      block.pixels(p, image, s.C, outside, pixel);
      block.pixels(p, grad_image, s.C, discarded, grad_pixel);
      block.weights(p, corner);
      backward_sample(grad_columns + p * z.padded_depth + tap * s.C, 1.f, pixel, grad_pixel, corner, s.C, dots);
      to_y[p] = derivative_y(block.lx[p], dots);
      to_x[p] = derivative_x(block.ly[p], dots);
    }
  }
}

// Tiles [begin, end) of image b; image and grad_image are channels-last, grad_weight [depth, padded outputs].
inline void backward_tiles(const ConvShape &s, const ConvSizes &z, const BackwardSpace &space, const BackwardTensors &t,
                           int64_t b, int64_t begin, int64_t end, float *work, const float *image, float *grad_image,
                           float *grad_weight) {
  float *columns = work, *grad_columns = columns + space.columns, *gradient = grad_columns + space.columns;
  float *outside = gradient + space.gradient;
  const float *offset = t.offset + b * 2 * z.taps * z.positions;
  float *grad_offset = t.grad_offset + b * 2 * z.taps * z.positions;
  for (int64_t tile = begin; tile < end; ++tile) {
    const int64_t first = tile * kTile, count = z.positions - first < kTile ? z.positions - first : kTile;
    for (int64_t o = 0; o < s.outputs; ++o) {
      const float *from = t.gradient + (b * s.outputs + o) * z.positions + first;
      for (int64_t p = 0; p < count; ++p) gradient[p * z.padded_outputs + o] = from[p];
    }
    sample_tile(s, z, image, offset, first, count, outside, columns);
    multiply_add({columns, 1, z.padded_depth}, gradient, z.padded_outputs, z.depth, count, z.padded_outputs, grad_weight,
                 z.padded_outputs);
    std::memset(grad_columns, 0, space.columns * sizeof(float));
    multiply_add({gradient, z.padded_outputs, 1}, t.weight_rows, z.padded_depth, count, s.outputs, z.padded_depth,
                 grad_columns, z.padded_depth);
    spread_tile(s, z, image, grad_image, offset, grad_offset, first, count, grad_columns, outside, outside + s.C);
  }
}

// The work is cut into the same chunks whatever the number of threads is, so that sums come out the same.
struct Chunks {
  explicit Chunks(const ConvShape &s, const ConvSizes &z)
      : parts(s.B >= 8 ? 1 : (8 + s.B - 1) / s.B), count(s.B >= 8 ? (s.B < 16 ? s.B : 16) : s.B * parts) {
    if (parts > z.tiles) parts = z.tiles, count = s.B * parts;
  }
  int64_t parts;  // of one image
  int64_t count;
};

inline void sum_weights(const ConvShape &s, const ConvSizes &z, const float *first, int64_t step, int64_t count,
                        float *grad_weight) {
  for (int64_t o = 0; o < s.outputs; ++o)
    for (int64_t c = 0; c < s.C; ++c)
      for (int64_t tap = 0; tap < z.taps; ++tap) {
        double sum = 0;
        for (int64_t i = 0; i < count; ++i) sum += first[i * step + (tap * s.C + c) * z.padded_outputs + o];
        grad_weight[(o * s.C + c) * z.taps + tap] = static_cast<float>(sum);
      }
}

bool conv_backward(const ConvShape &s, const float *x, const float *offset, const float *weight, const float *gradient,
                   float *grad_x, float *grad_offset, float *grad_weight) {
  const ConvSizes z(s);
  const Chunks chunks(s, z);
  const BackwardSpace space(s, z);
  Scratch weights(z.depth * z.padded_outputs + s.outputs * z.padded_depth), scratch(chunks.count * space.total);
  if (!weights.ok() || !scratch.ok()) return false;
  float *weight_rows = weights.get() + z.depth * z.padded_outputs;
  pack_weight(s, z, weight, weights.get(), weight_rows);
  const BackwardTensors tensors{x, offset, gradient, weight_rows, grad_x, grad_offset};
  const int64_t work_size = 2 * space.columns + space.gradient + space.outside;

  auto chunk_body = [&](int64_t chunk, int) {
    float *work = scratch.get() + chunk * space.total, *weight_sum = work + work_size;
    float *image = weight_sum + space.weight, *grad_image = image + z.image;
    std::memset(work, 0, (work_size + space.weight) * sizeof(float));
    const int64_t part = chunks.parts > 1 ? chunk % chunks.parts : 0, step = chunks.parts > 1 ? s.B : chunks.count;
    for (int64_t b = chunks.parts > 1 ? chunk / chunks.parts : chunk; b < s.B; b += step) {
      channels_last(x + b * z.image, s.C, s.H * s.W, image);
      std::memset(grad_image, 0, z.image * sizeof(float));
      backward_tiles(s, z, space, tensors, b, part * z.tiles / chunks.parts, (part + 1) * z.tiles / chunks.parts, work,
                     image, grad_image, weight_sum);
      if (chunks.parts == 1) channels_first(grad_image, s.C, s.H * s.W, grad_x + b * z.image);
    }
  };
  mindvideo::parallel_for(chunks.count, chunk_body);

  const float *first_grad_image = scratch.get() + work_size + space.weight + z.image;
  auto join_parts = [&](int64_t b, int) {
    float *sum = scratch.get() + b * chunks.parts * space.total + work_size + space.weight + z.image;
    for (int64_t part = 1; part < chunks.parts; ++part) {
      const float *more = first_grad_image + (b * chunks.parts + part) * space.total;
      for (int64_t i = 0; i < z.image; ++i) sum[i] += more[i];
    }
    channels_first(sum, s.C, s.H * s.W, grad_x + b * z.image);
  };
  if (chunks.parts > 1) mindvideo::parallel_for(s.B, join_parts);
  sum_weights(s, z, scratch.get() + work_size, space.total, chunks.count, grad_weight);
  return true;
}

}  // namespace
