// Attention of every query to every key with products in bfloat16; logits, exponentials and sums stay float32. Included
// by half.cpp.
#pragma once

#include <limits>

#include "half_tiles.h"
#include "kernels.h"
#include "thread_pool.h"

namespace {

using mindvideo::DenseAttentionShape;

constexpr int64_t kMostKeys = 8192;  // whose logits for two tiles of queries fit into the second cache

// Logits [row], whole steps of which those from S on are -infinity -> their exponentials, with the largest as 1; returns
// the sum.
inline float rounded_exponentials(const float *logits, int64_t row, Half *weights) {
  Vec most = Vec::load(logits), other = Vec::load(logits + kSide);
  for (int64_t s = kStep; s < row; s += kStep)
    most = greatest(most, Vec::load(logits + s)), other = greatest(other, Vec::load(logits + s + kSide));
  const Vec shift = Vec::all(greatest(most, other).largest());
  Vec sum = Vec::zero(), more = Vec::zero();
  for (int64_t s = 0; s < row; s += kStep) {
    const Vec a = exponential(Vec::load(logits + s) - shift), b = exponential(Vec::load(logits + s + kSide) - shift);
    _mm512_storeu_si512(weights + s, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b.v, a.v)));
    sum = sum + a, more = more + b;
  }
  return (sum + more).sum();
}

// query [B,M,R,D], key and value [B,M,S,D], bias on the logits or null -> output [B,M,R,D].
template <typename Tiles>
bool half_attention(const DenseAttentionShape &shape, const float *query, const float *key, const float *value,
                    const float *bias, float *output) {
  const int64_t R = shape.R, S = shape.S, D = shape.D, heads = shape.B * shape.M, threads = mindvideo::thread_count();
  const Steps channels(parts_of(D, kStep)), keys(parts_of(S, kStep));
  if (!channels.ok() || !keys.ok()) return false;
  channels.in_a_row(), keys.in_a_row();
  const int64_t key_panel = channels.count() * kTileSize, value_panel = keys.count() * kTileSize;
  const int64_t of_keys = parts_of(S, kSide) * key_panel, of_values = parts_of(D, kSide) * value_panel;
  int64_t logits_row = round_up(S, kPair);
  if (logits_row % 64 == 0) logits_row += kPair;  // rows a power of two apart would take the same places of a cache
  const int64_t at_once = logits_row > kMostKeys ? kSide : kPair;  // of the queries
  const int64_t of_queries = floats_for(kPair * row_of(D)), of_weights = floats_for(at_once * row_of(S));
  const int64_t share = of_queries + of_weights + at_once * logits_row + kPair * kPair;
  Scratch scratch(floats_for(heads * (of_keys + of_values)) + threads * share);
  if (!scratch.ok()) return false;
  Half *const all_keys = halves_of(scratch.get()), *const all_values = all_keys + heads * of_keys;
  float *const own = scratch.get() + floats_for(heads * (of_keys + of_values));

  auto pack = [&](int64_t head, int) {
    for (int64_t s = 0; s < S; s += kSide)
      pack_panel_of_rows(key + (head * S + s) * D, D, at_most(kSide, S - s), D,
                         all_keys + head * of_keys + s / kSide * key_panel);
    for (int64_t d = 0; d < D; d += kSide)
      pack_panel_of_columns(value + head * S * D + d, D, at_most(kSide, D - d), S,
                            all_values + head * of_values + d / kSide * value_panel);
  };
  mindvideo::parallel_for(heads, pack);

  const int64_t tiles_of_head = parts_of(R, at_once);
  auto body = [&](int64_t unit, int thread) {
    const int64_t head = unit / tiles_of_head, first = unit % tiles_of_head * at_once, count = at_most(at_once, R - first);
    const int64_t height = parts_of(count, kSide);
    Half *const queries = halves_of(own + thread * share), *const weights = halves_of(own + thread * share + of_queries);
    float *const logits = own + thread * share + of_queries + of_weights, *const tile = logits + at_once * logits_row;
    pack_rows(query + (head * R + first) * D, D, count, D, queries);
    Tiles::begin();
    for_pairs(0, S, [&](int64_t s, int64_t, int64_t panels) {
      Tiles::product({queries, row_of(D), height, channels.get(), channels.count()},
                     {all_keys + head * of_keys + s / kSide * key_panel, key_panel, panels}, logits + s, logits_row);
    });
    float totals[kPair];
    const int64_t row = round_up(S, kStep);
    for (int64_t r = 0; r < count; ++r) {
      float *const own_row = logits + r * logits_row;
      if (bias) {
        const float *const added = bias + head / shape.M * shape.bias_batch + (first + r) * shape.bias_row;
        for_vectors(S, [&](int64_t s, int n) { store(load(own_row + s, n) + load(added + s, n), own_row + s, n); });
      }
      for (int64_t s = S; s < row; ++s) own_row[s] = -std::numeric_limits<float>::infinity();
      totals[r] = rounded_exponentials(own_row, row, weights + r * row_of(S));
    }
    for_pairs(0, D, [&](int64_t d, int64_t columns, int64_t panels) {
      Tiles::product({weights, row_of(S), height, keys.get(), keys.count()},
                     {all_values + head * of_values + d / kSide * value_panel, value_panel, panels}, tile, kPair);
      for (int64_t r = 0; r < count; ++r) {
        const Vec scale = Vec::all(1.f / totals[r]);
        for_vectors(columns, [&](int64_t i, int n) {
          store(load(tile + r * kPair + i, n) * scale, output + (head * R + first + r) * D + d + i, n);
        });
      }
    });
    Tiles::end();
  };
  mindvideo::parallel_for(heads * tiles_of_head, body);
  return true;
}

}  // namespace
