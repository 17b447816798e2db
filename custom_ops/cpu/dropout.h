// Dropout whose mask is a hash of (stream, row, column), drawn where it is used and never kept, for one instruction set:
// the same bits as mindvideo/modules/layers/dropout.py makes of MindSpore's operators. Included by isa.cpp.
#pragma once

#include "kernels.h"
#include "scratch.h"
#include "thread_pool.h"

namespace {

using mindvideo::DropoutStream;

constexpr uint32_t kRowStride = 0x1E3779B1, kColumnStride = 0x3504F333, kMix = 0x2C1B3C6D, kRemix = 0x297A2D39;

inline uint32_t mixed(uint32_t bits) {
  bits *= kMix;
  return (bits ^ static_cast<uint32_t>(static_cast<int32_t>(bits) >> 15)) * kRemix;
}

// x [rows, columns] -> output: times `scale` where the hash is below the threshold, times 0 elsewhere.
bool dropout(int64_t rows, int64_t columns, const DropoutStream &s, const float *x, float *output) {
  Scratch scratch(columns);
  if (!scratch.ok()) return false;
  uint32_t *const column_bits = reinterpret_cast<uint32_t *>(scratch.get());
  const uint32_t stream = mixed(static_cast<uint32_t>(s.iteration) * kRowStride + static_cast<uint32_t>(s.offset));
  for (int64_t c = 0; c < columns; ++c) column_bits[c] = mixed(static_cast<uint32_t>(c) * kColumnStride - stream);
  const int64_t at_once = columns < 4096 ? 4096 / (columns ? columns : 1) : 1;
  auto body = [&](int64_t unit, int) {
    const int64_t end = (unit + 1) * at_once < rows ? (unit + 1) * at_once : rows;
    for (int64_t r = unit * at_once; r < end; ++r) {
      const uint32_t row_bits = mixed(static_cast<uint32_t>(r) * kRowStride + stream);
      const float *const from = x + r * columns;
      float *const to = output + r * columns;
      for (int64_t c = 0; c < columns; ++c) {
        const int32_t bits = static_cast<int32_t>(mixed(row_bits ^ column_bits[c]));
        to[c] = from[c] * (bits < s.threshold ? s.scale : 0.f);
      }
    }
  };
  mindvideo::parallel_for((rows + at_once - 1) / at_once, body);
  return true;
}

}  // namespace
