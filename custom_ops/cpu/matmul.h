// Small dense products for tiles that lie in the cache.
#pragma once

#include <cstdint>

#include "simd.h"

namespace {

// A matrix given by strides, so that a transpose is a view.
struct View {
  const float *data;
  int64_t row, column;
};

// C[rows, NV vectors] += A[rows, depth] * B[depth, NV vectors]; ROWS x NV accumulators stay in registers.
template <int ROWS, int NV>
inline __attribute__((always_inline)) void multiply_tile(View a, const float *b, int64_t b_row, int64_t depth, float *c,
                                                         int64_t c_row) {
  Vec sum[ROWS][NV];
  for (int r = 0; r < ROWS; ++r)
    for (int v = 0; v < NV; ++v) sum[r][v] = Vec::zero();
  for (int64_t k = 0; k < depth; ++k) {
    Vec right[NV];
    for (int v = 0; v < NV; ++v) right[v] = Vec::load(b + k * b_row + v * Vec::width);
    for (int r = 0; r < ROWS; ++r) {
      const Vec left = Vec::all(a.data[r * a.row + k * a.column]);
      for (int v = 0; v < NV; ++v) sum[r][v] = left.fma(right[v], sum[r][v]);
    }
  }
  for (int r = 0; r < ROWS; ++r)
    for (int v = 0; v < NV; ++v) {
      float *const to = c + r * c_row + v * Vec::width;
      (Vec::load(to) + sum[r][v]).store(to);  // long sums are added up in parts, which loses fewer digits
    }
}

template <int NV>
inline void multiply_columns(View a, const float *b, int64_t b_row, int64_t rows, int64_t depth, float *c,
                             int64_t c_row) {
  constexpr int kRows = NV == 1 ? 8 : NV == 2 ? 6 : Vec::width == 16 ? 8 : 4;
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows)
    multiply_tile<kRows, NV>({a.data + r * a.row, a.row, a.column}, b, b_row, depth, c + r * c_row, c_row);
  for (; r < rows; ++r)
    multiply_tile<1, NV>({a.data + r * a.row, a.row, a.column}, b, b_row, depth, c + r * c_row, c_row);
}

// C[rows, columns] += A[rows, depth] * B[depth, columns]; columns must be a multiple of the vector width.
inline void multiply_add(View a, const float *b, int64_t b_row, int64_t rows, int64_t depth, int64_t columns, float *c,
                         int64_t c_row) {
  int64_t j = 0;
  for (; j + 3 * Vec::width <= columns; j += 3 * Vec::width)
    multiply_columns<3>(a, b + j, b_row, rows, depth, c + j, c_row);
  if (columns - j == 2 * Vec::width) multiply_columns<2>(a, b + j, b_row, rows, depth, c + j, c_row);
  if (columns - j == Vec::width) multiply_columns<1>(a, b + j, b_row, rows, depth, c + j, c_row);
}

}  // namespace
