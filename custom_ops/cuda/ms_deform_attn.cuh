// Geometry of multi-scale deformable attention on the device.
#pragma once

#include <cstdint>

namespace mindvideo {

struct Attention {
  int64_t N, S, M, D, Lq, L, P;
  const int32_t *spatial_shapes, *level_start_index;
};

struct Level {
  int height, width;
  int64_t start;
};

// Levels that reach beyond value are treated as empty: the host cannot see the numbers, and nothing outside is read.
__device__ inline Level level_of(const Attention &a, int64_t level) {
  Level r{a.spatial_shapes[2 * level], a.spatial_shapes[2 * level + 1], a.level_start_index[level]};
  const bool fits = r.height >= 0 && r.width >= 0 && r.start >= 0 &&
                    r.start + static_cast<int64_t>(r.height) * r.width <= a.S;
  if (!fits) r.height = r.width = 0;
  return r;
}

// The four pixels around a position; a row of -1 is outside. Bounds are strict and NaN is outside; a coordinate is
// tested before it is converted to an integer.
struct Position {
  int row[4];
  float weight[4];
  float ly, lx;
  bool touches;

  __device__ Position(const Level &level, float x, float y) {
    // Rounded after each step as the plain code does, so that borders agree on every backend.
    const float px = __fsub_rn(__fmul_rn(x, static_cast<float>(level.width)), 0.5f);
    const float py = __fsub_rn(__fmul_rn(y, static_cast<float>(level.height)), 0.5f);
    touches = py > -1.f && px > -1.f && py < static_cast<float>(level.height) && px < static_cast<float>(level.width);
    if (!touches) return;
    const float y0f = floorf(py), x0f = floorf(px);
    const int y0 = static_cast<int>(y0f), x0 = static_cast<int>(x0f);
    ly = py - y0f, lx = px - x0f;
    const float hy = 1.f - ly, hx = 1.f - lx;
    weight[0] = hy * hx, weight[1] = hy * lx, weight[2] = ly * hx, weight[3] = ly * lx;
    const bool top = y0 >= 0 && y0 < level.height, bottom = y0 + 1 < level.height;
    const bool left = x0 >= 0 && x0 < level.width, right = x0 + 1 < level.width;
    const int first = y0 * level.width + x0;
    row[0] = top && left ? first : -1;
    row[1] = top && right ? first + 1 : -1;
    row[2] = bottom && left ? first + level.width : -1;
    row[3] = bottom && right ? first + level.width + 1 : -1;
    touches = (row[0] & row[1] & row[2] & row[3]) != -1;
  }
};

constexpr int kThreads = 256;

// Lanes that share one query and head: a power of two up to a warp, each owning every lanes-th run of channels.
inline int lanes_for(int64_t channels, int per_lane) {
  int lanes = 1;
  while (lanes < 32 && static_cast<int64_t>(lanes) * per_lane < channels) lanes *= 2;
  return lanes;
}

}  // namespace mindvideo
