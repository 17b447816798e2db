// Convolutions with products in bfloat16. The maps are laid out with the channels of a place side by side, so that the
// places that a tap reads for neighbours of the result are rows of a left matrix as they lie. Included by half.cpp.
#pragma once

#include "half_tiles.h"
#include "kernels.h"
#include "thread_pool.h"

namespace {

using mindvideo::ConvShape;

constexpr int64_t kHalvesAtOnce = 1 << 22;  // of the maps that are laid out: 8 MB, memory that the allocator keeps
constexpr int64_t kPairsOfUnit = 8;  // of tiles of places: with the weights of two panels they stay in the second cache
constexpr int64_t kPairsInTurn = 4;  // whose numbers are written together: longer rows of a map reach the memory faster
constexpr int64_t kPlaces = kPairsInTurn * kPair;

// Maps with a border of zeros: [B, rows, columns, row], `row` halves for the channels of a place.
struct PaddedMaps {
  PaddedMaps(const ConvShape &s)
      : rows(s.H + 2 * s.padding), columns(s.W + 2 * s.padding), row(row_of(s.C)), map(rows * columns * row) {}
  int64_t rows, columns, row, map;

  // The line `y` of one image's maps.
  void lay_out(const ConvShape &s, const float *maps, int64_t y, Half *to) const {
    const int64_t from = y - s.padding, size = s.H * s.W;
    const bool inside = from >= 0 && from < s.H;
    if (!inside || s.padding > 0) std::memset(to, 0, columns * row * sizeof(Half));
    if (!inside) return;
    for (int64_t c = 0; c < s.C; c += kStep)
      for (int64_t x = 0; x < s.W; x += kSide) {
        const int64_t count = at_most(kSide, s.W - x);
        const float *const corner = maps + c * size + from * s.W + x;
        __m512i pairs[16];
        for (int64_t i = 0; i < kSide; ++i) {
          const int64_t even = c + 2 * i;
          pairs[i] = paired(load16(corner + 2 * i * size, even < s.C ? count : 0),
                            load16(corner + (2 * i + 1) * size, even + 1 < s.C ? count : 0));
        }
        transpose(pairs);
        for (int64_t i = 0; i < count; ++i) _mm512_storeu_si512(to + (s.padding + x + i) * row + c, pairs[i]);
      }
  }
};

// A panel of at most 16 outputs from a weight [outputs, C, taps]: all steps of one tap, then those of the next.
inline void pack_taps(const float *weight, int64_t count, int64_t C, int64_t taps, Half *panel) {
  const __m512i every_second = _mm512_mullo_epi32(_mm512_set1_epi32(static_cast<int>(2 * taps)),
                                                  _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
  for (int64_t tap = 0; tap < taps; ++tap)
    for (int64_t c = 0; c < C; c += kStep, panel += kTileSize) {
      __m512i pairs[16];
      for (int64_t o = 0; o < kSide; ++o) {
        const float *const from = weight + (o * C + c) * taps + tap;
        const __mmask16 even = o < count ? first_lanes((C - c + 1) / 2) : 0, odd = o < count ? first_lanes((C - c) / 2) : 0;
        pairs[o] = paired(_mm512_mask_i32gather_ps(_mm512_setzero_ps(), even, every_second, from, 4),
                          _mm512_mask_i32gather_ps(_mm512_setzero_ps(), odd, every_second, from + taps, 4));
      }
      transpose(pairs);
      for (int64_t pair = 0; pair < kSide; ++pair) _mm512_storeu_si512(panel + pair * kPair, pairs[pair]);
    }
}

// Which of the places that are written together belong to the result.
struct PlaceRuns {
  struct Run {
    int64_t from, to, length;  // among these places, in a map of the result
  };
  Run run[kPlaces];
  int64_t count = 0;

  // `length` places more, from `first` on in lines of `columns` places of which the first `s.out_w` count; they are from
  // `from` on among those that are written together.
  void add(const ConvShape &s, int64_t first, int64_t length, int64_t columns, int64_t from) {
    for (int64_t p = 0; p < length;) {
      const int64_t i = (first + p) / columns, j = (first + p) % columns, rest = at_most(columns - j, length - p);
      if (j < s.out_w) {
        const Run next{from + p, i * s.out_w + j, at_most(rest, s.out_w - j)};
        Run *const last = count ? &run[count - 1] : nullptr;
        const bool goes_on = last && last->from + last->length == next.from && last->to + last->length == next.to;
        if (goes_on) last->length += next.length;
        else run[count++] = next;
      }
      p += rest;
    }
  }
};

// A tile of places x outputs, with rows of kPair floats -> outputs x places, with rows of kPlaces.
inline void turn_tile(const float *tile, float *turned) {
  __m512i numbers[16];
  for (int64_t r = 0; r < kSide; ++r) numbers[r] = _mm512_loadu_si512(tile + r * kPair);
  transpose(numbers);
  for (int64_t r = 0; r < kSide; ++r) _mm512_storeu_si512(turned + r * kPlaces, numbers[r]);
}

// What is done to the numbers of a convolution on the way to the result; residual may be null.
struct Finish {
  const float *scale, *shift, *residual;
  bool relu;
  float *result;

  // `numbers`: rows of kPlaces, one for each of `outputs` outputs from `output` on; their maps begin at `to`.
  void write(const PlaceRuns &runs, const float *numbers, int64_t output, int64_t outputs, int64_t to, int64_t map) const {
    for (int64_t n = 0; n < outputs; ++n, to += map) {
      const Vec factor = Vec::all(scale[output + n]), added = Vec::all(shift[output + n]);
      for (const PlaceRuns::Run *r = runs.run; r < runs.run + runs.count; ++r)
        for_vectors(r->length, [&](int64_t p, int m) {
          Vec y = load(numbers + n * kPlaces + r->from + p, m).fma(factor, added);
          if (residual) y = y + load(residual + to + r->to + p, m);
          store(relu ? pick(below(y, Vec::zero()), Vec::zero(), y) : y, result + to + r->to + p, m);
        });
    }
  }
};

// x [B, C, H, W], weight [outputs, C, kernel_h, kernel_w] -> relu(x * weight * scale + shift + residual); residual may be
// null.
template <typename Tiles>
bool half_convolution(const ConvShape &s, const float *x, const float *weight, const float *scale, const float *shift,
                      const float *residual, bool relu, float *output) {
  const PaddedMaps maps(s);
  const Finish finish{scale, shift, residual, relu, output};
  const int64_t taps = s.kernel_h * s.kernel_w, of_tap = parts_of(s.C, kStep), threads = mindvideo::thread_count();
  const int64_t panels = parts_of(s.outputs, kSide), positions = s.out_h * s.out_w;
  const Steps steps(taps * of_tap);
  const int64_t panel_size = steps.count() * kTileSize, beyond = kPair * s.stride * maps.row;  // read by the last tiles
  const int64_t most = kHalvesAtOnce / maps.map, at_once = most < 1 ? 1 : at_most(most, s.B);  // of the images
  const int64_t of_maps = floats_for(at_once * maps.map + beyond), of_weight = floats_for(panels * panel_size);
  const int64_t share = kPair * (kPair + kPlaces);
  Scratch scratch(of_maps + of_weight + threads * share);
  if (!scratch.ok() || !steps.ok()) return false;
  Half *const laid_out = halves_of(scratch.get()), *const packed = halves_of(scratch.get() + of_maps);
  float *const own = scratch.get() + of_maps + of_weight;
  std::memset(laid_out + at_once * maps.map, 0, beyond * sizeof(Half));
  for (int64_t tap = 0; tap < taps; ++tap)
    for (int64_t k = 0; k < of_tap; ++k)
      steps.get()[tap * of_tap + k] =
          (tap / s.kernel_w * maps.columns + tap % s.kernel_w) * s.dilation * maps.row + k * kStep;

  auto pack = [&](int64_t panel, int) {
    const int64_t first = panel * kSide, count = at_most(kSide, s.outputs - first);
    Half *const to = packed + panel * panel_size;
    if (taps == 1) pack_panel_of_rows(weight + first * s.C, s.C, count, s.C, to);
    else pack_taps(weight + first * s.C * taps, count, s.C, taps, to);
  };
  mindvideo::parallel_for(panels, pack);

  int64_t first_image = 0;
  auto lay_out = [&](int64_t unit, int) {
    const int64_t b = unit / maps.rows, y = unit % maps.rows;
    const float *const image = x + (first_image + b) * s.C * s.H * s.W;
    const bool read = s.kernel_h > 1 || y % s.stride == 0;
    if (read) maps.lay_out(s, image, y, laid_out + b * maps.map + y * maps.columns * maps.row);
  };

  // With stride 1 the whole result is one line of places, border included, and a tile may go on in the next line.
  const bool whole = s.stride == 1;
  const int64_t lines = whole ? 1 : s.out_h, line = whole ? (s.out_h - 1) * maps.columns + s.out_w : s.out_w;
  const int64_t of_line = parts_of(line, kPair), pairs = lines * of_line;
  const int64_t blocks = parts_of(pairs, kPairsOfUnit), doubles = parts_of(panels, 2);
  int64_t parts = 1;  // of the outputs
  while (parts < doubles && at_once * blocks * parts < 4 * threads) ++parts;
  auto unit_body = [&](int64_t unit, int thread) {
    const int64_t part = unit % parts, block = unit / parts % blocks, b = unit / parts / blocks;
    const int64_t first_output = part * doubles / parts * kPair;
    const int64_t end_output = at_most((part + 1) * doubles / parts * kPair, s.outputs);
    float *const tile = own + thread * share, *const turned = tile + kPair * kPair;
    Tiles::begin();
    for_pairs(first_output, end_output, [&](int64_t o, int64_t outputs, int64_t width) {
      for (int64_t begin = block * pairs / blocks, end = (block + 1) * pairs / blocks; begin < end; begin += kPairsInTurn) {
        PlaceRuns runs;
        for (int64_t pair = begin; pair < at_most(begin + kPairsInTurn, end); ++pair) {
          const int64_t i = pair / of_line, j = pair % of_line * kPair, length = at_most(kPair, line - j);
          const int64_t start = whole ? j : i * s.stride * maps.columns + j * s.stride, height = parts_of(length, kSide);
          const int64_t place = (pair - begin) * kPair;
          const Half *const places = laid_out + b * maps.map + start * maps.row;
          Tiles::product({places, s.stride * maps.row, height, steps.get(), steps.count()},
                         {packed + o / kSide * panel_size, panel_size, width}, tile, kPair);
          for (int64_t v = 0; v < height; ++v)
            for (int64_t h = 0; h < width; ++h)
              turn_tile(tile + v * kSide * kPair + h * kSide, turned + h * kSide * kPlaces + place + v * kSide);
          whole ? runs.add(s, j, length, maps.columns, place) : runs.add(s, i * s.out_w + j, length, s.out_w, place);
        }
        finish.write(runs, turned, o, outputs, ((first_image + b) * s.outputs + o) * positions, positions);
      }
    });
    Tiles::end();
  };
  for (; first_image < s.B; first_image += at_once) {
    const int64_t images = at_most(at_once, s.B - first_image);
    mindvideo::parallel_for(images * maps.rows, lay_out);
    mindvideo::parallel_for(images * blocks * parts, unit_body);
  }
  return true;
}

}  // namespace
