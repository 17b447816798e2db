// Deformable convolution v1: a block makes kTileOutputs channels of kTilePositions neighbouring positions. Samples and
// weights of 16 input channels at a time lie in shared memory; a thread sums 8 outputs of one position in registers.
#include "deform_conv.cuh"

namespace mindvideo {
namespace {

constexpr int kPerThread = kTileOutputs * kTilePositions / kThreads;

struct Shared {
  TilePositions at[kTilePositions];
  float columns[kTileChannels * kTilePositions];
  float weights[kTileChannels * kTileOutputs];
};

__global__ void __launch_bounds__(kThreads)
    forward_kernel(Conv s, const float *x, const float *offset, const float *weight, float *output) {
  Shared &shared = *shared_memory<Shared>();
  const int64_t output_tiles = (s.O + kTileOutputs - 1) / kTileOutputs;
  const int64_t first_output = blockIdx.x % output_tiles * kTileOutputs;
  const int64_t tile = blockIdx.x / output_tiles % s.tiles(), image = blockIdx.x / (output_tiles * s.tiles());
  const int p = threadIdx.x % kTilePositions, o = threadIdx.x / kTilePositions * kPerThread;
  const int64_t at = tile * kTilePositions + p;
  float sum[kPerThread] = {};
  for (int64_t tap = 0; tap < s.taps(); ++tap) {
    if (threadIdx.x < kTilePositions) shared.at[p] = tile_position(s, offset, image, tap, at);
    for (int64_t c = 0; c < s.C; c += kTileChannels) {
      __syncthreads();
      sample_tile(s, x, image, c, shared.at, shared.columns);
      for (int i = threadIdx.x; i < kTileChannels * kTileOutputs; i += kThreads) {
        const int64_t channel = c + i / kTileOutputs, out = first_output + i % kTileOutputs;
        shared.weights[i] = channel < s.C && out < s.O ? weight[(out * s.C + channel) * s.taps() + tap] : 0.f;
      }
      __syncthreads();
      for (int i = 0; i < kTileChannels; ++i) {
        const float column = shared.columns[i * kTilePositions + p];
#pragma unroll
        for (int k = 0; k < kPerThread; ++k) sum[k] = fmaf(shared.weights[i * kTileOutputs + o + k], column, sum[k]);
      }
    }
    __syncthreads();  // the samples are read before the next tap's positions are written
  }
  if (at >= s.positions()) return;
  for (int k = 0; k < kPerThread; ++k) {
    const int64_t out = first_output + o + k;
    if (out < s.O) output[(image * s.O + out) * s.positions() + at] = sum[k];
  }
}

}  // namespace
}  // namespace mindvideo

using namespace mindvideo;

MINDVIDEO_EXPORT int DeformConv2dForward(int count, void **data, int *ranks, int64_t **shapes, const char **types,
                                         void *stream, void *) {
  constexpr char kName[] = "DeformConv2dForward";
  const Call call{count, data, ranks, shapes, types};
  if (count != 5) return refuse(kWrongCount, kName, "wrong number of tensors");
  Conv s;
  if (const int status = read_conv(call, kName, s)) return status;
  if (call.size(4) != s.B * s.O * s.positions()) return refuse(kWrongShape, kName, "wrong output size");
  const int64_t blocks = s.B * s.tiles() * blocks_of(s.O, kTileOutputs);
  return launch(kName, forward_kernel, {blocks, kThreads, sizeof(Shared), static_cast<cudaStream_t>(stream)}, s,
                call.get<float>(0), call.get<float>(1), call.get<float>(2), call.get<float>(4));
}
