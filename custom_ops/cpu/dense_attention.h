// Attention of every query to every key, for one instruction set: the weights of a few rows of queries at a time stay in
// the cache and are never written to memory. Included by isa.cpp.
#pragma once

#include <limits>

#include "exponentials.h"
#include "kernels.h"
#include "matmul.h"
#include "scratch.h"
#include "simd.h"
#include "thread_pool.h"

namespace {

using mindvideo::DenseAttentionShape;

constexpr int64_t kRowsOfTile = 24;         // a multiple of every height of a register tile in matmul.h
constexpr int64_t kFloatsOfTile = 1 << 17;  // 512 KB of weights: they fit into a core's second cache
constexpr int64_t kKeysAtOnce = 128;        // whose values stay in the first cache

// The keys [S, D] of one head, turned to [D, row] with row >= S; the columns beyond S are 0.
inline void turn_keys(const float *keys, int64_t S, int64_t D, int64_t row, float *turned) {
  for (int64_t s0 = 0; s0 < row; s0 += Vec::width)
    for (int64_t d = 0; d < D; ++d)
      for (int64_t s = s0; s < s0 + Vec::width; ++s) turned[d * row + s] = s < S ? keys[s * D + d] : 0.f;
}

// query [B,M,R,D], key and value [B,M,S,D], bias on the logits or null -> output [B,M,R,D].
bool dense_attention(const DenseAttentionShape &shape, const float *query, const float *key, const float *value,
                     const float *bias, float *output) {
  const int64_t R = shape.R, S = shape.S, D = shape.D, heads = shape.B * shape.M;
  int64_t row = round_up(S, Vec::width);
  if (row % 64 == 0) row += Vec::width;  // rows a power of two apart would take the same places of a cache
  const int64_t width = round_up(D, Vec::width), values = width == D ? 0 : S * width;
  const int64_t rows = kFloatsOfTile / row >= 2 * kRowsOfTile ? 2 * kRowsOfTile : kRowsOfTile;
  const int64_t tiles = (R + rows - 1) / rows, share = round_up(rows * (row + width), 16);
  Scratch scratch(heads * (D * row + values) + mindvideo::thread_count() * share);
  if (!scratch.ok()) return false;
  float *const all_keys = scratch.get(), *const all_values = all_keys + heads * D * row;
  float *const own = all_values + heads * values;

  auto arrange = [&](int64_t head, int) {
    turn_keys(key + head * S * D, S, D, row, all_keys + head * D * row);
    for (int64_t s = 0; values && s < S; ++s)
      for (int64_t d = 0; d < width; ++d)
        all_values[head * values + s * width + d] = d < D ? value[(head * S + s) * D + d] : 0.f;
  };
  mindvideo::parallel_for(heads, arrange);

  auto tile = [&](int64_t unit, int thread) {
    const int64_t head = unit / tiles, first = unit % tiles * rows, count = R - first < rows ? R - first : rows;
    float *const weights = own + thread * share, *const sums = weights + rows * row;
    for (int64_t r = 0; r < count; ++r) {
      const float *from =
          bias ? bias + head / shape.M * shape.bias_batch + (first + r) * shape.bias_row : nullptr;
      for (int64_t s = 0; s < row; ++s) weights[r * row + s] = from && s < S ? from[s] : 0.f;
    }
    multiply_add({query + (head * R + first) * D, D, 1}, all_keys + head * D * row, row, count, D, row, weights, row);
    float totals[2 * kRowsOfTile];
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t s = S; s < row; ++s) weights[r * row + s] = -std::numeric_limits<float>::infinity();
      totals[r] = exponentials(weights + r * row, row);
    }
    for (int64_t i = 0; i < count * width; ++i) sums[i] = 0.f;
    const float *const of_head = values ? all_values + head * values : value + head * S * D;
    for (int64_t s = 0; s < S; s += kKeysAtOnce)
      multiply_add({weights + s, row, 1}, of_head + s * width, width, count, S - s < kKeysAtOnce ? S - s : kKeysAtOnce,
                   width, sums, width);
    for (int64_t r = 0; r < count; ++r) {
      const Vec scale = Vec::all(1.f / totals[r]);
      float *const to = output + (head * R + first + r) * D;
      for_vectors(D, [&](int64_t d, int n) { store(load(sums + r * width + d, n) * scale, to + d, n); });
    }
  };
  mindvideo::parallel_for(heads * tiles, tile);
  return true;
}

}  // namespace
