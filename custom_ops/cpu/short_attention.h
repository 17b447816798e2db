// Attention within each of many short sequences, for one instruction set: all that a sequence needs stays in the first
// cache, and the heads are read where they lie, side by side in the channels. Included by isa.cpp.
#pragma once

#include <limits>

#include "exponentials.h"
#include "kernels.h"
#include "matmul.h"
#include "scratch.h"
#include "simd.h"
#include "thread_pool.h"

namespace {

using mindvideo::ShortAttentionShape;

constexpr int64_t kSequencesAtOnce = 8;  // fewer would spend their time on handing out work

// What one head of one sequence needs, in one thread's scratch memory.
struct HeadScratch {
  int64_t D, row, width;  // channels of a head; keys and channels rounded up to whole vectors
  float *query;           // [R, D]
  float *keys;            // [D, row]
  float *values;          // [S, width]
  float *weights;         // [R, row]
  float *sums;            // [R, width]
};

// query, key, value and output of one sequence, at the channels of one head.
inline void attend_head(const ShortAttentionShape &s, const HeadScratch &own, const float *query, const float *key,
                        const float *value, const float *bias, float *output) {
  const int64_t D = own.D, row = own.row, width = own.width;
  const Vec scale = Vec::all(s.scale);
  for (int64_t r = 0; r < s.R; ++r)
    for_vectors(D, [&](int64_t d, int n) { store(load(query + r * s.row[0] + d, n) * scale, own.query + r * D + d, n); });
  for (int64_t k = 0; k < s.S; ++k) {
    for (int64_t d = 0; d < D; ++d) own.keys[d * row + k] = key[k * s.row[1] + d];
    for_vectors(D, [&](int64_t d, int n) { load(value + k * s.row[2] + d, n).store(own.values + k * width + d); });
  }
  for (int64_t r = 0; r < s.R; ++r)
    for (int64_t k = 0; k < row; ++k) own.weights[r * row + k] = bias && k < s.S ? bias[k] : 0.f;
  multiply_add({own.query, D, 1}, own.keys, row, s.R, D, row, own.weights, row);
  for (int64_t i = 0; i < s.R * width; ++i) own.sums[i] = 0.f;
  float *const totals = own.query;  // the queries have been used
  for (int64_t r = 0; r < s.R; ++r) {
    for (int64_t k = s.S; k < row; ++k) own.weights[r * row + k] = -std::numeric_limits<float>::infinity();
    totals[r] = exponentials(own.weights + r * row, row);
  }
  multiply_add({own.weights, row, 1}, own.values, width, s.R, s.S, width, own.sums, width);
  for (int64_t r = 0; r < s.R; ++r) {
    const Vec share = Vec::all(1.f / totals[r]);
    for_vectors(D, [&](int64_t d, int n) { store(load(own.sums + r * width + d, n) * share, output + r * s.C + d, n); });
  }
}

// query [N,R,...], key and value [N,S,...], bias [S] or null -> output [N,R,C].
bool short_attention(const ShortAttentionShape &s, const float *query, const float *key, const float *value,
                     const float *bias, float *output) {
  const int64_t D = s.C / s.heads, row = round_up(s.S, Vec::width), width = round_up(D, Vec::width);
  const int64_t of_query = round_up(s.R * D, 16), of_keys = round_up(D * row, 16), of_values = round_up(s.S * width, 16);
  const int64_t of_weights = round_up(s.R * row, 16), of_sums = round_up(s.R * width, 16);
  const int64_t share = of_query + of_keys + of_values + of_weights + of_sums;
  Scratch scratch(mindvideo::thread_count() * share);
  if (!scratch.ok()) return false;
  for (int64_t i = 0; i < mindvideo::thread_count() * share; ++i) scratch.get()[i] = 0.f;  // keys beyond S stay 0
  auto body = [&](int64_t unit, int thread) {
    float *const from = scratch.get() + thread * share, *const keys = from + of_query, *const values = keys + of_keys;
    const HeadScratch own{D, row, width, from, keys, values, values + of_values, values + of_values + of_weights};
    const int64_t first = unit * kSequencesAtOnce, end = first + kSequencesAtOnce < s.N ? first + kSequencesAtOnce : s.N;
    for (int64_t n = first; n < end; ++n)
      for (int64_t c = 0; c < s.C; c += D)
        attend_head(s, own, query + n * s.R * s.row[0] + s.begin[0] + c, key + n * s.S * s.row[1] + s.begin[1] + c,
                    value + n * s.S * s.row[2] + s.begin[2] + c, bias, output + n * s.R * s.C + c);
  };
  mindvideo::parallel_for((s.N + kSequencesAtOnce - 1) / kSequencesAtOnce, body);
  return true;
}

}  // namespace
