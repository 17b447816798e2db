// What the two passes of the deformable convolution share: sizes, positions of one tap, tiles in shared memory.
#pragma once

#include "bilinear.cuh"
#include "launch.cuh"

namespace mindvideo {

constexpr int kTilePositions = 64;  // output positions of a block
constexpr int kTileChannels = 16;   // input channels that are sampled together
constexpr int kTileOutputs = 32;

struct Conv {
  int64_t B, C, H, W, O, Ho, Wo;
  int kernel_h, kernel_w;
  const int32_t *geometry;  // stride, padding, dilation; in device memory
  __host__ __device__ int64_t positions() const { return Ho * Wo; }
  __host__ __device__ int64_t taps() const { return static_cast<int64_t>(kernel_h) * kernel_w; }
  __host__ __device__ int64_t tiles() const { return (positions() + kTilePositions - 1) / kTilePositions; }
};

// Where tap `tap` of image `image` reads for output position `at`; offset [B, 2 * taps, Ho, Wo] holds dy and dx.
__device__ inline Position tap_position(const Conv &s, const float *offset, int64_t image, int64_t tap, int64_t at) {
  const int stride = s.geometry[0], padding = s.geometry[1], dilation = s.geometry[2];
  const float *const dy = offset + (image * 2 * s.taps() + 2 * tap) * s.positions() + at;
  const int64_t y = at / s.Wo * stride - padding + tap / s.kernel_w * dilation;
  const int64_t x = at % s.Wo * stride - padding + tap % s.kernel_w * dilation;
  return Position(static_cast<int>(s.H), static_cast<int>(s.W), static_cast<float>(y) + dy[0],
                  static_cast<float>(x) + dy[s.positions()]);
}

// The positions of one tap for a tile, worked out once for all channels. Rows of -1 are outside.
struct TilePositions {
  int row[4];
  float weight[4];
};

__device__ inline TilePositions tile_position(const Conv &s, const float *offset, int64_t image, int64_t tap, int64_t at) {
  TilePositions r;
  for (int k = 0; k < 4; ++k) r.row[k] = -1, r.weight[k] = 0.f;
  if (at >= s.positions()) return r;
  const Position position = tap_position(s, offset, image, tap, at);
  if (!position.touches) return r;
  for (int k = 0; k < 4; ++k) r.row[k] = position.row[k], r.weight[k] = position.weight[k];
  return r;
}

__device__ inline float sample(const float *channel, const TilePositions &p) {
  float sum = 0.f;
  for (int k = 0; k < 4; ++k)
    if (p.row[k] >= 0) sum = fmaf(p.weight[k], channel[p.row[k]], sum);
  return sum;
}

// columns [kTileChannels, kTilePositions]: samples of the channels from `first` on. Needs barriers before and after.
__device__ inline void sample_tile(const Conv &s, const float *x, int64_t image, int64_t first, const TilePositions *at,
                                   float *columns) {
  for (int i = threadIdx.x; i < kTileChannels * kTilePositions; i += kThreads) {
    const int64_t c = first + i / kTilePositions;
    columns[i] = c < s.C ? sample(x + (image * s.C + c) * s.H * s.W, at[i % kTilePositions]) : 0.f;
  }
}

// Inputs x, offset, weight, geometry.
inline int read_conv(const Call &call, const char *op, Conv &s) {
  bool types = call.is(3, "int32");
  for (int index = 0; index < call.count; ++index) types = types && (index == 3 || call.is(index, "float32"));
  if (!types) return refuse(kWrongType, op, "tensors must be float32, the geometry int32");
  if (call.ranks[0] != 4 || call.ranks[1] != 4 || call.ranks[2] != 4 || call.size(3) != 3)
    return refuse(kWrongShape, op, "expected [B,C,H,W], [B,2*kh*kw,Ho,Wo], [O,C,kh,kw], [3]");
  if (!call.fits_int32()) return refuse(kTooLarge, op, "a tensor has more than 2^31 - 1 elements");
  s = {call.axis(0, 0), call.axis(0, 1), call.axis(0, 2), call.axis(0, 3), call.axis(2, 0), call.axis(1, 2),
       call.axis(1, 3), static_cast<int>(call.axis(2, 2)), static_cast<int>(call.axis(2, 3)), call.get<int32_t>(3)};
  if (call.axis(1, 0) != s.B || call.axis(1, 1) != 2 * s.taps() || call.axis(2, 1) != s.C)
    return refuse(kWrongShape, op, "x, offset and weight do not fit together");
  return kOk;
}

}  // namespace mindvideo
