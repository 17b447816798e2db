// Convolution for one instruction set with what networks do to its result: a scale and a shift for each channel, a
// residual, a ReLU; and its gradients. MindSpore's stays with AVX2 and brings every map into an order of its own. Every
// number of a result is summed in the same order, however the work is cut. Included by isa.cpp.
#pragma once

#include "dense_layer.h"
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

// A convolution as a sum of taps: that of tap t at (i, j) reads the map at (i, j) * stride + taps[t].
struct Taps {
  struct Tap {
    int64_t y, x;
  };
  int64_t B, C, H, W, outputs, out_h, out_w, stride;
  const Tap *taps;
  int64_t count;
};

// Where one tap reads a map for the positions of a panel: runs of places side by side; the others lie in the padding.
struct Runs {
  struct Run {
    int64_t to, from, length;
  };
  Run run[kPositions];
  int64_t count, covered;

  // For `length` positions from `first` on.
  void find(const Taps &s, const Taps::Tap &tap, int64_t first, int64_t length) {
    const int64_t ky = tap.y, kx = tap.x;
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

// Memory for taps.
class TapList {
 public:
  explicit TapList(int64_t count) : data_(static_cast<Taps::Tap *>(std::malloc(count * sizeof(Taps::Tap)))) {}
  ~TapList() { std::free(data_); }
  TapList(const TapList &) = delete;
  TapList &operator=(const TapList &) = delete;
  bool ok() const { return data_ != nullptr; }
  Taps::Tap *get() const { return data_; }

 private:
  Taps::Tap *data_;
};

// Where the taps of a kernel lie.
inline void find_taps(const ConvShape &s, Taps::Tap *taps) {
  for (int64_t tap = 0; tap < s.kernel_h * s.kernel_w; ++tap)
    taps[tap] = {tap / s.kernel_w * s.dilation - s.padding, tap % s.kernel_w * s.dilation - s.padding};
}

// A kernel of one place with stride 1 sees a map as one row.
inline Taps simplest(const Taps &s) {
  const bool same = s.count == 1 && s.stride == 1 && s.taps[0].y == 0 && s.taps[0].x == 0 && s.H == s.out_h && s.W == s.out_w;
  if (!same) return s;
  Taps row = s;
  row.H = row.out_h = 1, row.W = row.out_w = s.H * s.W;
  return row;
}

// How the result [B, outputs, positions] is cut into units that are computed by themselves.
struct ConvolutionUnits {
  ConvolutionUnits(const Taps &s, int64_t threads)
      : panels(parts_of(s.out_h * s.out_w, kPositions)), parts(parts_of(s.outputs, kOutputsAtOnce)) {
    int64_t at_once = kPanelsAtOnce;
    while (at_once > 1 && s.B * parts * parts_of(panels, at_once) < 4 * threads) --at_once;
    blocks = parts_of(panels, at_once);
  }
  int64_t panels, parts, blocks;
};

// Packs the panels [first_panel, last_panel) of `channels` channels of one image: [panel, channel, tap, position].
inline void pack_panels(const Taps &s, const float *maps, int64_t channels, int64_t first_panel, int64_t last_panel,
                        float *packed) {
  const int64_t taps = s.count, positions = s.out_h * s.out_w, size = s.H * s.W;
  Runs runs;
  for (int64_t panel = first_panel; panel < last_panel; ++panel, packed += channels * taps * kPositions)
    for (int64_t tap = 0; tap < taps; ++tap) {
      runs.find(s, s.taps[tap], panel * kPositions, at_most(kPositions, positions - panel * kPositions));
      for (int64_t c = 0; c < channels; ++c) runs.gather(maps + c * size, s.stride, packed + (c * taps + tap) * kPositions);
    }
}

// x [B, C, H, W], weight [outputs, C, taps] -> the numbers of each map, `count` of them from `first` on, one map's to
// finish(image, output, first, count, numbers).
template <typename Finish>
inline bool convolve(const Taps &given, const float *x, const float *weight, Finish finish) {
  const Taps s = simplest(given);
  const int64_t taps = s.count, depth = s.C * taps, positions = s.out_h * s.out_w;
  const int64_t channels_at_once = at_most(s.C, taps < kTerms ? (taps ? kTerms / taps : s.C) : 1);
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
    for (int64_t o = 0; o < outputs; ++o) finish(b, first_output + o, first, count, tile + o * width);
  };
  mindvideo::parallel_for(s.B * units.parts * units.blocks, unit_body);
  return true;
}

// x [B, C, H, W], weight [outputs, C, kernel_h, kernel_w] -> output [B, outputs, out_h, out_w]
// = x * weight * scale + shift + residual, below 0 set to 0 where `relu`. residual may be null.
bool dense_convolution(const ConvShape &s, const float *x, const float *weight, const float *scale, const float *shift,
                       const float *residual, bool relu, float *output) {
  const int64_t positions = s.out_h * s.out_w;
  TapList list(s.kernel_h * s.kernel_w);
  if (!list.ok()) return false;
  find_taps(s, list.get());
  const auto finish = [&](int64_t b, int64_t o, int64_t first, int64_t count, const float *numbers) {
    const Vec factor = Vec::all(scale[o]), added = Vec::all(shift[o]);
    const int64_t to = (b * s.outputs + o) * positions + first;
    for_vectors(count, [&](int64_t p, int n) {
      Vec y = load(numbers + p, n).fma(factor, added);
      if (residual) y = y + load(residual + to + p, n);
      store(relu ? pick(below(y, Vec::zero()), Vec::zero(), y) : y, output + to + p, n);
    });
  };
  return convolve({s.B, s.C, s.H, s.W, s.outputs, s.out_h, s.out_w, s.stride, list.get(), s.kernel_h * s.kernel_w}, x,
                  weight, finish);
}

// gradient [B, outputs, out_h, out_w], weight [outputs, C, kernel_h, kernel_w], scale [outputs] -> grad_x [B, C, H, W].
// The places of a map that are `stride` apart hear of the same taps, and are a convolution of the gradient by themselves.
bool dense_convolution_input_gradient(const ConvShape &s, const float *gradient, const float *weight, const float *scale,
                                      float *grad_x) {
  const int64_t all = s.kernel_h * s.kernel_w;
  TapList list(2 * all);
  Scratch scratch(s.C * s.outputs * all);
  if (!list.ok() || !scratch.ok()) return false;
  Taps::Tap *const places = list.get(), *const taps = places + all;
  find_taps(s, places);
  for (int64_t phase = 0; phase < s.stride * s.stride; ++phase) {
    const int64_t top = phase / s.stride, left = phase % s.stride;
    if (top >= s.H || left >= s.W) continue;
    int64_t count = 0;
    for (int64_t tap = 0; tap < all; ++tap) {
      const int64_t y = top - places[tap].y, x = left - places[tap].x;
      if (y % s.stride != 0 || x % s.stride != 0) continue;
      taps[count++] = {y / s.stride, x / s.stride};
    }
    const int64_t out_h = parts_of(s.H - top, s.stride), out_w = parts_of(s.W - left, s.stride);
    float *const turned = scratch.get();
    auto turn = [&](int64_t c, int) {
      for (int64_t o = 0; o < s.outputs; ++o)
        for (int64_t tap = 0, own = 0; tap < all; ++tap)
          if ((top - places[tap].y) % s.stride == 0 && (left - places[tap].x) % s.stride == 0)
            turned[(c * s.outputs + o) * count + own++] = weight[(o * s.C + c) * all + tap] * scale[o];
    };
    mindvideo::parallel_for(s.C, turn);
    const auto finish = [&](int64_t b, int64_t c, int64_t first, int64_t length, const float *numbers) {
      float *const map = grad_x + (b * s.C + c) * s.H * s.W;
      if (s.stride == 1) {
        for_vectors(length, [&](int64_t p, int n) { store(load(numbers + p, n), map + first + p, n); });
        return;
      }
      int64_t i = first / out_w, j = first % out_w;
      for (int64_t p = 0; p < length; ++p) {
        map[(i * s.stride + top) * s.W + j * s.stride + left] = numbers[p];
        if (++j == out_w) j = 0, ++i;
      }
    };
    if (!convolve({s.B, s.outputs, s.out_h, s.out_w, s.C, out_h, out_w, 1, taps, count}, gradient, turned, finish))
      return false;
  }
  return true;
}

constexpr int64_t kRowsOfGradient = 288;    // (channel, tap) of a unit; with the columns they stay in the second cache
constexpr int64_t kColumnsOfGradient = 192;  // outputs of a unit, whole vectors

// x [B, C, H, W], gradient [B, outputs, out_h, out_w], scale [outputs] -> grad_weight [outputs, C, kernel_h, kernel_w],
// grad_shift [outputs].
bool dense_convolution_weight_gradient(const ConvShape &s, const float *x, const float *gradient, const float *scale,
                                       float *grad_weight, float *grad_shift) {
  TapList list(s.kernel_h * s.kernel_w);
  if (!list.ok()) return false;
  find_taps(s, list.get());
  const Taps t = simplest({s.B, s.C, s.H, s.W, s.outputs, s.out_h, s.out_w, s.stride, list.get(), s.kernel_h * s.kernel_w});
  const int64_t taps = t.count, positions = t.out_h * t.out_w, panels = parts_of(positions, kPositions);
  int64_t row = round_up(s.outputs, Vec::width);
  if (row % 64 == 0) row += Vec::width;  // rows a power of two apart would take the same places of a cache
  const int64_t parts = parts_of(s.outputs, kColumnsOfGradient), threads = mindvideo::thread_count();
  int64_t channels_at_once = at_most(s.C, taps < kRowsOfGradient ? kRowsOfGradient / taps : 1);
  while (channels_at_once > 1 && channels_at_once * taps > 24 && parts * parts_of(s.C, channels_at_once) < 4 * threads)
    --channels_at_once;
  const int64_t blocks = parts_of(s.C, channels_at_once), packed_size = channels_at_once * taps * kPositions;
  Scratch scratch(positions * row + s.C * taps * row + threads * packed_size);
  if (!scratch.ok()) return false;
  float *const turned = scratch.get(), *const sums = turned + positions * row, *const packed = sums + s.C * taps * row;
  for (int64_t i = 0; i < s.C * taps * row; ++i) sums[i] = 0.f;
  for (int64_t o = 0; o < s.outputs; ++o) grad_shift[o] = 0.f;

  for (int64_t b = 0; b < s.B; ++b) {
    const float *const of_image = gradient + b * s.outputs * positions;
    auto turn = [&](int64_t panel, int) {  // gradient of one image [outputs, positions] -> turned [positions, row]
      const int64_t first = panel * kPositions, count = at_most(kPositions, positions - first);
      turn_panel(of_image + first, positions, count, s.outputs, row, turned + first * row);
    };
    mindvideo::parallel_for(panels, turn);
    auto unit_body = [&](int64_t unit, int thread) {
      const int64_t block = unit / parts, part = unit % parts, vectors = row / Vec::width;
      const int64_t first_channel = block * s.C / blocks, channels = (block + 1) * s.C / blocks - first_channel;
      const int64_t left = part * vectors / parts * Vec::width, right = (part + 1) * vectors / parts * Vec::width;
      float *const own = packed + thread * packed_size, *const to = sums + first_channel * taps * row + left;
      for (int64_t panel = 0; panel < panels; ++panel) {
        pack_panels(t, x + (b * s.C + first_channel) * s.H * s.W, channels, panel, panel + 1, own);
        multiply_add({own, kPositions, 1}, turned + panel * kPositions * row + left, row, channels * taps,
                     at_most(kPositions, positions - panel * kPositions), right - left, to, row);
      }
    };
    mindvideo::parallel_for(blocks * parts, unit_body);
    auto add_up = [&](int64_t o, int) {
      Vec sum = Vec::zero();
      for_vectors(positions, [&](int64_t p, int n) { sum = sum + load(of_image + o * positions + p, n); });
      grad_shift[o] += sum.sum();
    };
    mindvideo::parallel_for(s.outputs, add_up);
  }
  auto give = [&](int64_t o, int) {
    for (int64_t k = 0; k < s.C * taps; ++k) grad_weight[o * s.C * taps + k] = sums[k * row + o] * scale[o];
  };
  mindvideo::parallel_for(s.outputs, give);
  return true;
}

}  // namespace
