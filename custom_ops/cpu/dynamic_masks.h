// Every query's own small network over the cells of its frame, for one instruction set: the maps between its layers stay
// in registers, only the masks are written. Included by isa.cpp.
#pragma once

#include "kernels.h"
#include "scratch.h"
#include "simd.h"
#include "thread_pool.h"

namespace {

using mindvideo::DynamicMaskShape;

constexpr int64_t kHidden = 8;  // width of the two layers between

inline Vec rectified(Vec x) { return pick(below(x, Vec::zero()), Vec::zero(), x); }

// The logits [H * W] of one query. Its parameters: three weights, the first with x and y in front, then three biases.
inline void run_network(const DynamicMaskShape &s, const float *features, const float *parameters, const float *reference,
                        float *logits) {
  const int64_t inputs = s.channels + 2, cells = s.H * s.W;
  const float *const first = parameters, *const second = first + kHidden * inputs, *const third = second + kHidden * kHidden;
  const float *const first_bias = third + kHidden, *const second_bias = first_bias + kHidden;
  const float last_bias = second_bias[kHidden];
  const float half = static_cast<float>(s.stride / 2), stride = static_cast<float>(s.stride);
  float across[Vec::width];
  for (int i = 0; i < Vec::width; ++i) across[i] = static_cast<float>(i) * stride;
  const Vec steps = Vec::load(across);
  for (int64_t i = 0; i < s.H; ++i) {
    const Vec y = Vec::all(reference[1] - (static_cast<float>(i) * stride + half));
    for_vectors(s.W, [&](int64_t j, int n) {
      const Vec x = Vec::all(reference[0] - (static_cast<float>(j) * stride + half)) - steps;
      const float *const cell = features + i * s.W + j;
      Vec own[kHidden], next[kHidden];
      for (int64_t h = 0; h < kHidden; ++h) {
        const float *const row = first + h * inputs;
        own[h] = Vec::all(row[0]).fma(x, Vec::all(row[1]).fma(y, Vec::all(first_bias[h])));
      }
      for (int64_t c = 0; c < s.channels; ++c) {
        const Vec feature = load(cell + c * cells, n);
        for (int64_t h = 0; h < kHidden; ++h) own[h] = Vec::all(first[h * inputs + 2 + c]).fma(feature, own[h]);
      }
      for (int64_t h = 0; h < kHidden; ++h) own[h] = rectified(own[h]);
      for (int64_t h = 0; h < kHidden; ++h) {
        next[h] = Vec::all(second_bias[h]);
        for (int64_t k = 0; k < kHidden; ++k) next[h] = Vec::all(second[h * kHidden + k]).fma(own[k], next[h]);
      }
      Vec logit = Vec::all(last_bias);
      for (int64_t h = 0; h < kHidden; ++h) logit = Vec::all(third[h]).fma(rectified(next[h]), logit);
      store(logit, logits + i * s.W + j, n);
    });
  }
}

// [H, W] -> [2 H, 2 W] with the old numbers at odd places and means between them; the first ones are repeated.
inline void double_map(const DynamicMaskShape &s, const float *map, float *line, float *output) {
  for (int64_t i = 0; i < 2 * s.H; ++i) {
    const float *const below = map + i / 2 * s.W, *const above = i >= 2 && i % 2 == 0 ? below - s.W : below;
    if (i % 2 == 0)
      for_vectors(s.W, [&](int64_t j, int n) {
        store((load(above + j, n) + load(below + j, n)) * Vec::all(0.5f), line + j, n);
      });
    const float *const from = i % 2 == 0 ? line : below;
    float *const to = output + i * 2 * s.W;
    to[0] = (from[0] + from[0]) * 0.5f;
    to[1] = from[0];
    for (int64_t j = 1; j < s.W; ++j) {
      to[2 * j] = (from[j - 1] + from[j]) * 0.5f;
      to[2 * j + 1] = from[j];
    }
  }
}

// features [F, channels, H, W], parameters [F, N, .], references [F, N, 2] in pixels -> output [F, N, 2 H, 2 W].
bool dynamic_masks(const DynamicMaskShape &s, const float *features, const float *parameters, const float *references,
                   float *output) {
  const int64_t cells = s.H * s.W, share = round_up(cells, 16) + round_up(s.W, 16);
  Scratch scratch(mindvideo::thread_count() * share);
  if (!scratch.ok()) return false;
  auto body = [&](int64_t query, int thread) {
    float *const map = scratch.get() + thread * share;
    run_network(s, features + query / s.N * s.channels * cells, parameters + query * s.parameters, references + 2 * query,
                map);
    double_map(s, map, map + round_up(cells, 16), output + query * 4 * cells);
  };
  mindvideo::parallel_for(s.F * s.N, body);
  return true;
}

}  // namespace
