// The textbook kernels that test_cuda.py measures against: one thread per output channel forward; backward one thread per
// channel with a global atomic for every corner and for every location and weight. Not part of the library.
#include <cstdint>

#include "aot.h"
#include "cuda/ms_deform_attn.cuh"

using namespace mindvideo;

__global__ void textbook_forward(Attention a, const float *value, const float2 *locations, const float *weights,
                                 float *output) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= a.N * a.Lq * a.M * a.D) return;
  const int64_t c = i % a.D, item = i / a.D, head = item % a.M, image = item / (a.M * a.Lq);
  float sum = 0.f;
  for (int64_t l = 0; l < a.L; ++l) {
    const Level level = level_of(a, l);
    for (int64_t p = 0; p < a.P; ++p) {
      const int64_t sample = (item * a.L + l) * a.P + p;
      const Position position = position_at(level, locations[sample].x, locations[sample].y);
      if (!position.touches) continue;
      float blend = 0.f;
      for (int k = 0; k < 4; ++k)
        if (position.row[k] >= 0)
          blend += position.weight[k] *
                   value[((image * a.S + level.start + position.row[k]) * a.M + head) * a.D + c];
      sum += weights[sample] * blend;
    }
  }
  output[i] = sum;
}

__global__ void textbook_backward(Attention a, const float *value, const float2 *locations, const float *weights,
                                  const float *gradient, float *grad_value, float2 *grad_locations,
                                  float *grad_weights) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= a.N * a.Lq * a.M * a.D) return;
  const int64_t c = i % a.D, item = i / a.D, head = item % a.M, image = item / (a.M * a.Lq);
  for (int64_t l = 0; l < a.L; ++l) {
    const Level level = level_of(a, l);
    for (int64_t p = 0; p < a.P; ++p) {
      const int64_t sample = (item * a.L + l) * a.P + p;
      const Position position = position_at(level, locations[sample].x, locations[sample].y);
      if (!position.touches) continue;
      float v[4] = {0.f, 0.f, 0.f, 0.f}, blend = 0.f;
      const float g = gradient[i], t = g * weights[sample];
      for (int k = 0; k < 4; ++k) {
        if (position.row[k] < 0) continue;
        const int64_t at = ((image * a.S + level.start + position.row[k]) * a.M + head) * a.D + c;
        v[k] = value[at];
        blend += position.weight[k] * v[k];
        atomicAdd(grad_value + at, position.weight[k] * t);
      }
      const float ly = position.ly, lx = position.lx;
      atomicAdd(grad_weights + sample, g * blend);
      atomicAdd(&grad_locations[sample].x, level.width * t * ((1.f - ly) * (v[1] - v[0]) + ly * (v[3] - v[2])));
      atomicAdd(&grad_locations[sample].y, level.height * t * ((1.f - lx) * (v[2] - v[0]) + lx * (v[3] - v[1])));
    }
  }
}

#define TEXTBOOK_OP(name)                                                                                             \
  MINDVIDEO_EXPORT int name(int count, void **data, int *ranks, int64_t **shapes, const char **types, void *stream, \
                            void *)

TEXTBOOK_OP(MsDeformAttnForward) {
  const Call call{count, data, ranks, shapes, types};
  Attention a;
  if (const int status = read_attention(call, "textbook", a)) return status;
  return launch("textbook", textbook_forward, {blocks_of(call.size(5), 1024), 1024, 0, static_cast<cudaStream_t>(stream)},
                a, call.get<float>(0), call.get<float2>(3), call.get<float>(4), call.get<float>(5));
}

TEXTBOOK_OP(MsDeformAttnBackward) {
  const Call call{count, data, ranks, shapes, types};
  Attention a;
  if (const int status = read_attention(call, "textbook", a)) return status;
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  for (int index = 6; index < 9; ++index) cudaMemsetAsync(data[index], 0, call.size(index) * sizeof(float), on);
  return launch("textbook", textbook_backward, {blocks_of(call.size(5), 256), 256, 0, on}, a, call.get<float>(0),
                call.get<float2>(3), call.get<float>(4), call.get<float>(5), call.get<float>(6), call.get<float2>(7),
                call.get<float>(8));
}
