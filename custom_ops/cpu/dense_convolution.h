// Convolution for one instruction set with what networks do to its result: a scale and a shift for each channel, a
// residual, a ReLU. MindSpore's stays with AVX2 and brings every map into an order of its own. Included by isa.cpp.
#pragma once

#include "kernels.h"
#include "matmul.h"
#include "scratch.h"
#include "simd.h"
#include "thread_pool.h"

namespace {

using mindvideo::ConvShape;

constexpr int64_t kPositions = 3 * Vec::width;  // of a panel: what one pass over a row of the weight computes
constexpr int64_t kPanelsAtOnce = 4;            // with kTerms rows each they stay in the second cache
constexpr int64_t kTerms = 256;                 // of a sum that one pass adds; at least one channel's taps
constexpr int64_t kOutputsAtOnce = 256;         // of a tile, which stays in the second cache
constexpr int64_t kOutputsInTurn = 48;          // whose weights stay in the first cache from panel to panel

inline int64_t at_most(int64_t n, int64_t limit) { return n < limit ? n : limit; }
inline int64_t parts_of(int64_t n, int64_t size) { return (n + size - 1) / size; }

// Where one tap reads a map for the positions of a panel: runs of places side by side; the others lie in the padding.
struct Runs {
  struct Run {
    int64_t to, from, length;
  };
  Run run[kPositions];
  int64_t count, covered;

  // For `length` positions from `first` on.
  void find(const ConvShape &s, int64_t tap, int64_t first, int64_t length) {
    const int64_t ky = tap / s.kernel_w * s.dilation - s.padding, kx = tap % s.kernel_w * s.dilation - s.padding;
    const int64_t stop_column = s.W > kx ? (s.W - 1 - kx) / s.stride + 1 : 0;  // from it on kx lies beyond the map
    const int64_t start_column = kx < 0 ? parts_of(-kx, s.stride) : 0;
    count = covered = 0;
    int64_t i = first / s.out_w, j = first % s.out_w;
    for (int64_t p = 0; p < length; ++i, j = 0) {
      const int64_t row_end = at_most(s.out_w, j + length - p), y = i * s.stride + ky;
      const int64_t begin = j < start_column ? start_column : j, end = at_most(row_end, stop_column);
      if (y >= 0 && y < s.H && begin < end) {
        run[count++] = {p + begin - j, y * s.W + begin * s.stride + kx, end - begin};
        covered += end - begin;
      }
      p += row_end - j;
    }
  }

  // A row of a panel from one channel's map.
  void gather(const float *map, int64_t stride, float *row) const {
    if (covered < kPositions)
      for (int64_t p = 0; p < kPositions; p += Vec::width) Vec::zero().store(row + p);
    for (const Run *r = run; r < run + count; ++r) {
      const float *from = map + r->from;
      float *to = row + r->to;
      if (stride == 1)
        for_vectors(r->length, [&](int64_t p, int n) { store(load(from + p, n), to + p, n); });
      else
        for (int64_t p = 0; p < r->length; ++p) to[p] = from[p * stride];
    }
  }
};

// A kernel of one place with stride 1 sees a map as one row.
inline ConvShape simplest(const ConvShape &s) {
  if (s.kernel_h * s.kernel_w != 1 || s.stride != 1 || s.padding != 0) return s;
  ConvShape row = s;
  row.H = row.out_h = 1, row.W = row.out_w = s.H * s.W;
  return row;
}

// How the result [B, outputs, positions] is cut into units that are computed by themselves.
struct ConvolutionUnits {
  ConvolutionUnits(const ConvShape &s, int64_t threads)
      : panels(parts_of(s.out_h * s.out_w, kPositions)), parts(parts_of(s.outputs, kOutputsAtOnce)) {
    int64_t at_once = kPanelsAtOnce;
    while (at_once > 1 && s.B * parts * parts_of(panels, at_once) < 4 * threads) --at_once;
    blocks = parts_of(panels, at_once);
  }
  int64_t panels, parts, blocks;
};

// Packs the panels [first_panel, last_panel) of `channels` channels of one image: [panel, channel, tap, position].
inline void pack_panels(const ConvShape &s, const float *maps, int64_t channels, int64_t first_panel, int64_t last_panel,
                        float *packed) {
  const int64_t taps = s.kernel_h * s.kernel_w, positions = s.out_h * s.out_w, size = s.H * s.W;
  Runs runs;
  for (int64_t panel = first_panel; panel < last_panel; ++panel, packed += channels * taps * kPositions)
    for (int64_t tap = 0; tap < taps; ++tap) {
      runs.find(s, tap, panel * kPositions, at_most(kPositions, positions - panel * kPositions));
      for (int64_t c = 0; c < channels; ++c) runs.gather(maps + c * size, s.stride, packed + (c * taps + tap) * kPositions);
    }
}

// x [B, C, H, W], weight [outputs, C, kernel_h, kernel_w] -> output [B, outputs, out_h, out_w]
// = x * weight * scale + shift + residual, below 0 set to 0 where `relu`. Every number of the result is summed in the
// same order, however the work is cut. residual may be null.
bool dense_convolution(const ConvShape &given, const float *x, const float *weight, const float *scale,
                       const float *shift, const float *residual, bool relu, float *output) {
  const ConvShape s = simplest(given);
  const int64_t taps = s.kernel_h * s.kernel_w, depth = s.C * taps, positions = s.out_h * s.out_w;
  const int64_t channels_at_once = at_most(s.C, taps < kTerms ? kTerms / taps : 1);
  const ConvolutionUnits units(s, mindvideo::thread_count());
  const int64_t packed_size = kPanelsAtOnce * channels_at_once * taps * kPositions;
  const int64_t tile_size = at_most(s.outputs, kOutputsAtOnce) * kPanelsAtOnce * kPositions;
  Scratch scratch(mindvideo::thread_count() * (packed_size + tile_size));
  if (!scratch.ok()) return false;

  auto unit_body = [&](int64_t unit, int thread) {
    const int64_t block = unit % units.blocks, part = unit / units.blocks % units.parts;
    const int64_t b = unit / units.blocks / units.parts;
    const int64_t first_panel = block * units.panels / units.blocks, last_panel = (block + 1) * units.panels / units.blocks;
    const int64_t first_output = part * s.outputs / units.parts;
    const int64_t outputs = (part + 1) * s.outputs / units.parts - first_output;
    const int64_t width = (last_panel - first_panel) * kPositions;
    float *const packed = scratch.get() + thread * (packed_size + tile_size), *const tile = packed + packed_size;
    for (int64_t i = 0; i < outputs * width; i += Vec::width) Vec::zero().store(tile + i);
    for (int64_t c = 0; c < s.C; c += channels_at_once) {
      const int64_t channels = at_most(channels_at_once, s.C - c), terms = channels * taps;
      pack_panels(s, x + (b * s.C + c) * s.H * s.W, channels, first_panel, last_panel, packed);
      for (int64_t o = 0; o < outputs; o += kOutputsInTurn)
        for (int64_t panel = 0; panel * kPositions < width; ++panel)
          multiply_add({weight + (first_output + o) * depth + c * taps, depth, 1}, packed + panel * terms * kPositions,
                       kPositions, at_most(kOutputsInTurn, outputs - o), terms, kPositions,
                       tile + o * width + panel * kPositions, width);
    }
    const int64_t first = first_panel * kPositions, count = at_most(width, positions - first);
    for (int64_t o = 0; o < outputs; ++o) {
      const Vec factor = Vec::all(scale[first_output + o]), added = Vec::all(shift[first_output + o]);
      const int64_t to = (b * s.outputs + first_output + o) * positions + first;
      for_vectors(count, [&](int64_t p, int n) {
        Vec y = load(tile + o * width + p, n).fma(factor, added);
        if (residual) y = y + load(residual + to + p, n);
        store(relu ? pick(below(y, Vec::zero()), Vec::zero(), y) : y, output + to + p, n);
      });
    }
  };
  mindvideo::parallel_for(s.B * units.parts * units.blocks, unit_body);
  return true;
}

}  // namespace
