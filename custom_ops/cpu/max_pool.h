// Maximum over windows for one instruction set. Included by isa.cpp.
#pragma once

#include <cmath>

#include "kernels.h"
#include "scratch.h"
#include "simd.h"
#include "thread_pool.h"

namespace {

// The greater of two, or what is not a number.
inline Vec greater_of(Vec a, Vec b) { return pick(equal(b, b), pick(below(a, b), b, a), b); }
inline float greater_of(float a, float b) { return b == b ? (a < b ? b : a) : b; }

// x [B * C, H, W] -> output [B * C, out_h, out_w]; what lies in the padding counts as minus infinity.
bool max_pool(const mindvideo::ConvShape &s, const float *x, float *output) {
  const int64_t padded = s.W + 2 * s.padding;
  Scratch scratch(mindvideo::thread_count() * round_up(padded, 16));
  if (!scratch.ok()) return false;
  auto map_body = [&](int64_t map, int thread) {
    float *const row = scratch.get() + thread * round_up(padded, 16), *const inside = row + s.padding;
    for (int64_t i = 0; i < padded; ++i) row[i] = -INFINITY;
    for (int64_t i = 0; i < s.out_h; ++i) {
      const int64_t top = i * s.stride - s.padding, begin = top < 0 ? 0 : top;
      const int64_t end = top + s.kernel_h < s.H ? top + s.kernel_h : s.H;
      for_vectors(s.W, [&](int64_t c, int n) {
        Vec most = load(x + (map * s.H + begin) * s.W + c, n);
        for (int64_t y = begin + 1; y < end; ++y) most = greater_of(most, load(x + (map * s.H + y) * s.W + c, n));
        store(most, inside + c, n);
      });
      float *const to = output + (map * s.out_h + i) * s.out_w;
      for (int64_t j = 0; j < s.out_w; ++j) {
        float most = row[j * s.stride];
        for (int64_t k = 1; k < s.kernel_w; ++k) most = greater_of(most, row[j * s.stride + k]);
        to[j] = most;
      }
    }
  };
  mindvideo::parallel_for(s.B * s.C, map_body);
  return true;
}

}  // namespace
