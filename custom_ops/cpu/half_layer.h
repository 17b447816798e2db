// Linear layers with products in bfloat16. Included by half.cpp.
#pragma once

#include "half_tiles.h"
#include "thread_pool.h"

namespace {

// x [rows, depth], weight [outputs, depth], bias [outputs] -> output [rows, outputs].
template <typename Tiles>
bool half_layer(int64_t rows, int64_t depth, int64_t outputs, const float *x, const float *weight, const float *bias,
                float *output) {
  const int64_t panels = parts_of(outputs, kSide), row = row_of(depth), threads = mindvideo::thread_count();
  int64_t at_once = 4 * kPair;  // of the rows: they stay in the second cache
  while (at_once > kPair && parts_of(rows, at_once) < 4 * threads) at_once -= kPair;
  const Steps steps(parts_of(depth, kStep));
  const int64_t panel_size = steps.count() * kTileSize, of_rows = floats_for(at_once * row), share = of_rows + kPair * kPair;
  Scratch scratch(floats_for(panels * panel_size) + threads * share);
  if (!scratch.ok() || !steps.ok()) return false;
  steps.in_a_row();
  Half *const packed = halves_of(scratch.get());
  float *const own = scratch.get() + floats_for(panels * panel_size);
  auto pack = [&](int64_t panel, int) {
    const int64_t first = panel * kSide;
    pack_panel_of_rows(weight + first * depth, depth, at_most(kSide, outputs - first), depth, packed + panel * panel_size);
  };
  mindvideo::parallel_for(panels, pack);
  auto block = [&](int64_t unit, int thread) {
    const int64_t first = unit * at_once, count = at_most(at_once, rows - first);
    Half *const left = halves_of(own + thread * share);
    float *const tile = own + thread * share + of_rows;
    pack_rows(x + first * depth, depth, count, depth, left);
    Tiles::begin();
    for_pairs(0, count, [&](int64_t r, int64_t lines, int64_t heights) {
      const Left own_rows{left + r * row, row, heights, steps.get(), steps.count()};
      for_pairs(0, outputs, [&](int64_t o, int64_t columns, int64_t tiles) {
        Tiles::product(own_rows, {packed + o / kSide * panel_size, panel_size, tiles}, tile, kPair);
        for (int64_t i = 0; i < lines; ++i)
          for_vectors(columns, [&](int64_t j, int n) {
            store(load(tile + i * kPair + j, n) + load(bias + o + j, n), output + (first + r + i) * outputs + o + j, n);
          });
      });
    });
    Tiles::end();
  };
  mindvideo::parallel_for(parts_of(rows, at_once), block);
  return true;
}

}  // namespace
