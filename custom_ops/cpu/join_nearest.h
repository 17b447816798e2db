// Coarse maps at the size of a finer map, which is added to them, and the gradients, for one instruction set. Included by
// isa.cpp.
#pragma once

#include "kernels.h"
#include "scratch.h"
#include "simd.h"
#include "thread_pool.h"

namespace {

using mindvideo::JoinShape;

// x [F * Q, C, h, w], fine [F, C, H, W] -> output [F * Q, C, H, W] = x where rows [H] and columns [W] say + fine.
bool join_nearest(const JoinShape &s, const float *x, const float *fine, float *output) {
  const int64_t size = s.h * s.w, new_size = s.H * s.W, share = round_up(s.W, 16);
  Scratch scratch(mindvideo::thread_count() * share);
  if (!scratch.ok()) return false;
  auto body = [&](int64_t map, int thread) {
    float *const spread = scratch.get() + thread * share;
    const float *const added = fine + (map / s.C / s.Q * s.C + map % s.C) * new_size;
    for (int64_t i = 0; i < s.H; ++i) {
      const float *const row = x + map * size + s.rows[i] * s.w;
      if (i == 0 || s.rows[i] != s.rows[i - 1])
        for (int64_t j = 0; j < s.W; ++j) spread[j] = row[s.columns[j]];
      for_vectors(s.W, [&](int64_t j, int n) {
        store(load(spread + j, n) + load(added + i * s.W + j, n), output + map * new_size + i * s.W + j, n);
      });
    }
  };
  mindvideo::parallel_for(s.F * s.Q * s.C, body);
  return true;
}

// gradient [F * Q, C, H, W] -> grad_x [F * Q, C, h, w], grad_fine [F, C, H, W].
bool join_nearest_gradient(const JoinShape &s, const float *gradient, float *grad_x, float *grad_fine) {
  const int64_t size = s.h * s.w, new_size = s.H * s.W, share = round_up(s.W, 16);
  Scratch scratch(mindvideo::thread_count() * share);
  if (!scratch.ok()) return false;
  auto of_x = [&](int64_t map, int thread) {
    float *const sums = scratch.get() + thread * share, *const to = grad_x + map * size;
    for (int64_t i = 0; i < size; ++i) to[i] = 0.f;
    for (int64_t i = 0; i < s.H; ++i) {
      const bool first = i == 0 || s.rows[i] != s.rows[i - 1], last = i + 1 == s.H || s.rows[i] != s.rows[i + 1];
      for_vectors(s.W, [&](int64_t j, int n) {
        const Vec own = load(gradient + map * new_size + i * s.W + j, n);
        store(first ? own : load(sums + j, n) + own, sums + j, n);
      });
      if (last)
        for (int64_t j = 0; j < s.W; ++j) to[s.rows[i] * s.w + s.columns[j]] += sums[j];
    }
  };
  mindvideo::parallel_for(s.F * s.Q * s.C, of_x);
  auto of_fine = [&](int64_t map, int) {
    const int64_t f = map / s.C, c = map % s.C;
    const float *const from = gradient + (f * s.Q * s.C + c) * new_size;
    for_vectors(new_size, [&](int64_t j, int n) {
      Vec sum = load(from + j, n);
      for (int64_t q = 1; q < s.Q; ++q) sum = sum + load(from + q * s.C * new_size + j, n);
      store(sum, grad_fine + map * new_size + j, n);
    });
  };
  mindvideo::parallel_for(s.F * s.C, of_fine);
  return true;
}

}  // namespace
