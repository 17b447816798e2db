// Convolution of each channel by itself, stride 1, padded so that the size stays, for one instruction set. MindSpore's
// treats it as any other. Every number is summed in the same order, however the work is cut. Included by isa.cpp.
#pragma once

#include <cstring>

#include "kernels.h"
#include "scratch.h"
#include "simd.h"
#include "thread_pool.h"

namespace {

using mindvideo::DepthwiseShape;

// Maps with a border of zeros, rows of whole vectors and their border.
struct Bordered {
  explicit Bordered(const DepthwiseShape &s)
      : border(s.kernel / 2), row(round_up(s.W, Vec::width) + 2 * border), size((s.H + 2 * border) * row) {}
  void fill(const DepthwiseShape &s, const float *map, float *to) const {
    std::memset(to, 0, size * sizeof(float));
    for (int64_t y = 0; y < s.H; ++y)
      std::memcpy(to + (y + border) * row + border, map + y * s.W, s.W * sizeof(float));
  }
  int64_t border, row, size;
};

// x [B, C, H, W], weight [C, k, k] -> output [B, C, H, W]; `turned`: by the weight turned half around, which makes the
// gradient of x of that of the output.
bool depthwise_convolution(const DepthwiseShape &s, const float *x, const float *weight, bool turned, float *output) {
  const Bordered bordered(s);
  const int64_t taps = s.kernel * s.kernel, share = round_up(bordered.size, 16);
  Scratch scratch(mindvideo::thread_count() * share);
  if (!scratch.ok()) return false;
  auto map_body = [&](int64_t map, int thread) {
    float *const own = scratch.get() + thread * share;
    const float *const kernel = weight + map % s.C * taps;
    bordered.fill(s, x + map * s.H * s.W, own);
    for (int64_t y = 0; y < s.H; ++y)
      for_vectors(s.W, [&](int64_t column, int n) {
        Vec sum = Vec::zero();
        for (int64_t tap = 0; tap < taps; ++tap)
          sum = Vec::all(kernel[turned ? taps - 1 - tap : tap])
                    .fma(Vec::load(own + (y + tap / s.kernel) * bordered.row + column + tap % s.kernel), sum);
        store(sum, output + (map * s.H + y) * s.W + column, n);
      });
  };
  mindvideo::parallel_for(s.B * s.C, map_body);
  return true;
}

// x, gradient [B, C, H, W] -> grad_weight [C, k, k].
bool depthwise_weight_gradient(const DepthwiseShape &s, const float *x, const float *gradient, float *grad_weight) {
  const Bordered bordered(s);
  const int64_t taps = s.kernel * s.kernel, share = round_up(bordered.size, 16);
  Scratch scratch(mindvideo::thread_count() * share);
  if (!scratch.ok()) return false;
  auto channel_body = [&](int64_t c, int thread) {
    float *const own = scratch.get() + thread * share, *const sums = grad_weight + c * taps;
    for (int64_t tap = 0; tap < taps; ++tap) sums[tap] = 0.f;
    for (int64_t b = 0; b < s.B; ++b) {
      const int64_t map = b * s.C + c;
      bordered.fill(s, x + map * s.H * s.W, own);
      for (int64_t tap = 0; tap < taps; ++tap) {
        Vec sum = Vec::zero();
        for (int64_t y = 0; y < s.H; ++y)
          for_vectors(s.W, [&](int64_t column, int n) {
            sum = load(gradient + (map * s.H + y) * s.W + column, n)
                      .fma(Vec::load(own + (y + tap / s.kernel) * bordered.row + column + tap % s.kernel), sum);
          });
        sums[tap] += sum.sum();
      }
    }
  };
  mindvideo::parallel_for(s.C, channel_body);
  return true;
}

}  // namespace
