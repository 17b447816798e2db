// x weight^T + bias for many rows, for one instruction set: MindSpore's products stay with AVX2. Included by isa.cpp.
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

// ``count`` rows of a weight [..., depth], turned to [depth, width]; the columns beyond count are 0.
inline void turn_panel(const float *weight, int64_t depth, int64_t count, int64_t width, float *panel) {
  for (int64_t k0 = 0; k0 < depth; k0 += 16) {
    const int64_t k1 = k0 + 16 < depth ? k0 + 16 : depth;
    for (int64_t o = 0; o < width; ++o)
      for (int64_t k = k0; k < k1; ++k) panel[k * width + o] = o < count ? weight[o * depth + k] : 0.f;
  }
}

inline void multiply_panel(const float *x, const float *panel, int64_t width, int64_t rows, int64_t depth, float *tile) {
  for (int64_t k = 0; k < depth; k += kDepthAtOnce)
    multiply_add({x + k, depth, 1}, panel + k * width, width, rows, depth - k < kDepthAtOnce ? depth - k : kDepthAtOnce,
                 width, tile, width);
}

// x [rows, depth], weight [outputs, depth], bias [outputs] -> output [rows, outputs]. Every number of the result
// is summed in the same order, however many rows there are.
bool dense_layer(int64_t rows, int64_t depth, int64_t outputs, const float *x, const float *weight, const float *bias,
                 float *output) {
  const int64_t panels = (outputs + kPanel - 1) / kPanel, blocks = (rows + kRowsAtOnce - 1) / kRowsAtOnce;
  const auto count_of = [&](int64_t p) { return outputs - p * kPanel < kPanel ? outputs - p * kPanel : kPanel; };
  Scratch scratch(panels * kPanel * depth + mindvideo::thread_count() * kRowsAtOnce * kPanel);
  if (!scratch.ok()) return false;
  float *const turned = scratch.get(), *const tiles = turned + panels * kPanel * depth;
  auto turn = [&](int64_t p, int) {
    turn_panel(weight + p * kPanel * depth, depth, count_of(p), round_up(count_of(p), Vec::width),
               turned + p * kPanel * depth);
  };
  mindvideo::parallel_for(panels, turn);
  auto block = [&](int64_t unit, int thread) {
    const int64_t first = unit * kRowsAtOnce, count = rows - first < kRowsAtOnce ? rows - first : kRowsAtOnce;
    float *const tile = tiles + thread * kRowsAtOnce * kPanel;
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t own = count_of(p), width = round_up(own, Vec::width);
      for (int64_t r = 0; r < count; ++r)
        for_vectors(own, [&](int64_t o, int n) {
          store(load(bias + p * kPanel + o, n), tile + r * width + o, n);
        });
      multiply_panel(x + first * depth, turned + p * kPanel * depth, width, count, depth, tile);
      for (int64_t r = 0; r < count; ++r)
        for_vectors(own, [&](int64_t o, int n) {
          store(load(tile + r * width + o, n), output + (first + r) * outputs + p * kPanel + o, n);
        });
    }
  };
  mindvideo::parallel_for(blocks, block);
  return true;
}

}  // namespace
