// Products of tiles in bfloat16, and how matrices are laid out for them. Included by half.cpp alone, which is compiled
// for processors with AMX and AVX512-BF16.
//
// The left matrix lies in rows. The right one lies in panels of 16 columns, and a panel in steps of 32 rows, two rows side
// by side as the instructions want them: [panel][step][16 pairs of rows][16 columns][2].
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "scratch.h"
#include "simd.h"

namespace {

using Half = uint16_t;  // the upper half of a float32

constexpr int64_t kSide = 16;                 // rows and columns of a tile of the result
constexpr int64_t kStep = 32;                 // terms of a sum that one instruction adds
constexpr int64_t kTileSize = kSide * kStep;  // of the left or the right matrix
constexpr int64_t kPair = 2 * kSide;          // two tiles, side by side or one above the other

// Rows so far apart that 16 of them do not compete for the same places of a cache: an odd number of its lines.
inline int64_t row_of(int64_t depth) { return (parts_of(depth, kStep) | 1) * kStep; }

inline Half *halves_of(float *scratch) { return reinterpret_cast<Half *>(scratch); }
inline int64_t floats_for(int64_t halves) { return round_up(halves, 32) / 2; }

inline __mmask16 first_lanes(int64_t n) { return n >= 16 ? 0xffff : n <= 0 ? 0 : static_cast<__mmask16>((1 << n) - 1); }
inline __m512 load16(const float *from, int64_t n) { return _mm512_maskz_loadu_ps(first_lanes(n), from); }

// 32 neighbours, of which n exist.
inline __m512i rounded(const float *from, int64_t n) {
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(load16(from + 16, n - 16), load16(from, n)));
}

// Sixteen pairs: the first of each from one vector, the second from the other.
inline __m512i paired(__m512 first, __m512 second) {
  const __m512i low = _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(first)));
  const __m512i high = _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(second)));
  return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

// Rows become columns.
inline void transpose(__m512i v[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; ++j) {
      v[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
      v[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
    }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    v[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    v[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    v[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

// `count` rows of `depth` numbers, `apart` floats from one to the next -> rows of a left matrix.
inline void pack_rows(const float *matrix, int64_t apart, int64_t count, int64_t depth, Half *to) {
  const int64_t row = row_of(depth);
  for (int64_t r = 0; r < count; ++r)
    for (int64_t k = 0; k < depth; k += kStep)
      _mm512_storeu_si512(to + r * row + k, rounded(matrix + r * apart + k, depth - k));
}

// At most 16 rows of `depth` numbers, `apart` floats from one to the next, as the columns of a panel.
inline void pack_panel_of_rows(const float *matrix, int64_t apart, int64_t count, int64_t depth, Half *panel) {
  for (int64_t k = 0; k < depth; k += kStep, panel += kTileSize) {
    __m512i pairs[16];
    for (int64_t o = 0; o < kSide; ++o)
      pairs[o] = o < count ? rounded(matrix + o * apart + k, depth - k) : _mm512_setzero_si512();
    transpose(pairs);
    for (int64_t pair = 0; pair < kSide; ++pair) _mm512_storeu_si512(panel + pair * kPair, pairs[pair]);
  }
}

// At most 16 columns of `depth` rows, `apart` floats from one row to the next, as a panel.
inline void pack_panel_of_columns(const float *matrix, int64_t apart, int64_t count, int64_t depth, Half *panel) {
  for (int64_t k = 0; k < round_up(depth, kStep); k += 2, panel += kPair) {
    const __m512 first = load16(matrix + k * apart, k < depth ? count : 0);
    const __m512 second = load16(matrix + (k + 1) * apart, k + 1 < depth ? count : 0);
    _mm512_storeu_si512(panel, paired(first, second));
  }
}

// A left matrix: `rows` tiles, one above the other, `row` halves from row to row; the terms of step k begin at steps[k].
struct Left {
  const Half *data;
  int64_t row, tiles;
  const int64_t *steps;
  int64_t count;
};

// One or two panels of a right matrix, `panel` halves apart.
struct Right {
  const Half *data;
  int64_t panel, tiles;
};

// Both give the product of one or two tiles of each side to `c`, whose rows are `c_row` floats apart. What lies beyond
// the matrices in the last tiles is computed like the rest, for nobody.
struct Amx {
  // All eight tiles have sixteen rows of 64 bytes.
  struct alignas(64) Configuration {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes_of_row[16];
    uint8_t rows[16];
  };
  static constexpr Configuration kWhole{1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

  static void begin() { _tile_loadconfig(&kWhole); }
  static void end() { _tile_release(); }  // the system then has less to save when it changes threads

  static void product(const Left &a, const Right &b, float *c, int64_t c_row) {
    if (a.tiles == 2) b.tiles == 2 ? add_up<2, 2>(a, b, c, c_row) : add_up<2, 1>(a, b, c, c_row);
    else b.tiles == 2 ? add_up<1, 2>(a, b, c, c_row) : add_up<1, 1>(a, b, c, c_row);
  }

  template <int ROWS, int COLUMNS>
  static void add_up(const Left &a, const Right &b, float *c, int64_t c_row) {
    constexpr bool kLower = ROWS == 2, kRight = COLUMNS == 2;
    const int64_t bytes = a.row * sizeof(Half), c_bytes = c_row * sizeof(float);
    _tile_zero(0);
    if (kRight) _tile_zero(1);
    if (kLower) _tile_zero(2);
    if (kLower && kRight) _tile_zero(3);
    for (int64_t k = 0; k < a.count; ++k) {
      _tile_loadd(4, a.data + a.steps[k], bytes);
      _tile_loadd(6, b.data + k * kTileSize, 64);
      _tile_dpbf16ps(0, 4, 6);
      if (kRight) {
        _tile_loadd(7, b.data + b.panel + k * kTileSize, 64);
        _tile_dpbf16ps(1, 4, 7);
      }
      if (kLower) {
        _tile_loadd(5, a.data + kSide * a.row + a.steps[k], bytes);
        _tile_dpbf16ps(2, 5, 6);
        if (kRight) _tile_dpbf16ps(3, 5, 7);
      }
    }
    _tile_stored(0, c, c_bytes);
    if (kRight) _tile_stored(1, c + kSide, c_bytes);
    if (kLower) _tile_stored(2, c + kSide * c_row, c_bytes);
    if (kLower && kRight) _tile_stored(3, c + kSide * c_row + kSide, c_bytes);
  }
};

struct Vectors {
  static constexpr int kRows = 8;  // with two tiles side by side sixteen sums, which stay in registers

  static void begin() {}
  static void end() {}

  static void product(const Left &a, const Right &b, float *c, int64_t c_row) {
    for (int64_t r = 0; r < a.tiles * kSide; r += kRows)
      b.tiles == 2 ? add_up<2>(a, r, b, c + r * c_row, c_row) : add_up<1>(a, r, b, c + r * c_row, c_row);
  }

  template <int COLUMNS>
  static void add_up(const Left &a, int64_t first, const Right &b, float *c, int64_t c_row) {
    __m512 sum[kRows][COLUMNS];
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < COLUMNS; ++v) sum[r][v] = _mm512_setzero_ps();
    for (int64_t k = 0; k < a.count; ++k) {
      const Half *const left = a.data + first * a.row + a.steps[k], *const right = b.data + k * kTileSize;
      for (int64_t pair = 0; pair < kSide; ++pair) {
        __m512bh columns[COLUMNS];
        for (int v = 0; v < COLUMNS; ++v)
          columns[v] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(right + v * b.panel + pair * kPair));
        for (int r = 0; r < kRows; ++r) {
          int32_t both;
          std::memcpy(&both, left + r * a.row + 2 * pair, sizeof(both));
          const __m512bh terms = reinterpret_cast<__m512bh>(_mm512_set1_epi32(both));
          for (int v = 0; v < COLUMNS; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], terms, columns[v]);
        }
      }
    }
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < COLUMNS; ++v) _mm512_storeu_ps(c + r * c_row + v * kSide, sum[r][v]);
  }
};

// Calls body(first column, columns, panels) for pairs of panels, and once for a last one.
template <typename Body>
inline void for_pairs(int64_t first, int64_t end, Body body) {
  for (int64_t at = first; at < end; at += kPair) {
    const int64_t columns = at_most(kPair, end - at);
    body(at, columns, parts_of(columns, kSide));
  }
}

// Memory for where the terms of each step begin.
class Steps {
 public:
  explicit Steps(int64_t count) : scratch_(2 * count), count_(count) {}
  bool ok() const { return scratch_.ok(); }
  int64_t *get() const { return reinterpret_cast<int64_t *>(scratch_.get()); }
  int64_t count() const { return count_; }
  void in_a_row() const {
    for (int64_t k = 0; k < count_; ++k) get()[k] = k * kStep;
  }

 private:
  Scratch scratch_;
  int64_t count_;
};

}  // namespace
