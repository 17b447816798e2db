// Geometry of multi-scale deformable attention on the device.
#pragma once

#include <cstdint>

#include "bilinear.cuh"
#include "launch.cuh"

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

// Rounded after each step as the plain code does, so that borders agree on every backend.
__device__ inline Position position_at(const Level &level, float x, float y) {
  return Position(level.height, level.width, __fsub_rn(__fmul_rn(y, static_cast<float>(level.height)), 0.5f),
                  __fsub_rn(__fmul_rn(x, static_cast<float>(level.width)), 0.5f));
}

// Lanes that share one query and head: a power of two up to a warp, each owning every lanes-th run of channels.
inline int lanes_for(int64_t channels, int per_lane) {
  int lanes = 1;
  while (lanes < 32 && static_cast<int64_t>(lanes) * per_lane < channels) lanes *= 2;
  return lanes;
}

// Inputs value, spatial_shapes, level_start_index, locations, weights. The levels lie in device memory and are not read.
inline int read_attention(const Call &call, const char *op, Attention &a) {
  const bool known = call.is(0, "float32") || call.is(0, "float16") || call.is(0, "bfloat16");
  if (!known || !call.is(1, "int32") || !call.is(2, "int32") || !call.is(3, "float32") || !call.is(4, "float32"))
    return refuse(kWrongType, op, "value must be float32, float16 or bfloat16, locations and weights float32, levels int32");
  if (call.ranks[0] != 4 || call.ranks[1] != 2 || call.ranks[2] != 1 || call.ranks[3] != 6 || call.ranks[4] != 5)
    return refuse(kWrongShape, op, "expected [N,S,M,D], [L,2], [L], [N,Lq,M,L,P,2], [N,Lq,M,L,P]");
  if (!call.fits_int32()) return refuse(kTooLarge, op, "a tensor has more than 2^31 - 1 elements");
  a = {call.axis(0, 0), call.axis(0, 1), call.axis(0, 2), call.axis(0, 3), call.axis(3, 1), call.axis(3, 3),
       call.axis(3, 4), call.get<int32_t>(1), call.get<int32_t>(2)};
  const bool same = call.axis(3, 0) == a.N && call.axis(3, 2) == a.M && call.axis(3, 5) == 2 && call.axis(1, 0) == a.L &&
                    call.axis(1, 1) == 2 && call.axis(2, 0) == a.L && call.size(4) * 2 == call.size(3);
  return same ? kOk : refuse(kWrongShape, op, "value, locations, weights and levels do not fit together");
}

}  // namespace mindvideo
