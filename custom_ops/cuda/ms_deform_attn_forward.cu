#include "../aot.h"
#include "device_vector.cuh"
#include "ms_deform_attn.cuh"

namespace mindvideo {
namespace {

// `lanes` threads share one (image, query, head); each owns COUNT neighbouring channels at a time, so that a corner is one
// wide load a lane and the position is worked out once for COUNT channels.
template <typename T, int COUNT>
__global__ void __launch_bounds__(kThreads) forward_kernel(Attention a, const T *value, const float2 *locations,
                                                           const float *weights, T *output, int lanes) {
  const int64_t item = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / lanes;
  const int lane = threadIdx.x % lanes;
  if (item >= a.N * a.Lq * a.M) return;
  const int64_t head = item % a.M, image = item / (a.M * a.Lq), stride = a.M * a.D;
  for (int64_t c = static_cast<int64_t>(lane) * COUNT; c < a.D; c += static_cast<int64_t>(lanes) * COUNT) {
    Channels<T, COUNT> sum = Channels<T, COUNT>::zero();
    int64_t sample = item * a.L * a.P;
    for (int64_t l = 0; l < a.L; ++l) {
      const Level level = level_of(a, l);
      const T *pixels = value + ((image * a.S + level.start) * a.M + head) * a.D + c;
      for (int64_t p = 0; p < a.P; ++p, ++sample) {
        const float2 at = __ldg(locations + sample);
        const Position position = position_at(level, at.x, at.y);
        if (!position.touches) continue;
        Channels<T, COUNT> blend = Channels<T, COUNT>::zero();
#pragma unroll
        for (int k = 0; k < 4; ++k)
          if (position.row[k] >= 0)
            blend.add_scaled(position.weight[k], Channels<T, COUNT>::load(pixels + position.row[k] * stride));
        sum.add_scaled(__ldg(weights + sample), blend);
      }
    }
    sum.store(output + item * a.D + c);
  }
}

template <typename T, int COUNT>
int start(const Attention &a, const Call &call, cudaStream_t stream) {
  const int lanes = lanes_for(a.D, COUNT);
  return launch("MsDeformAttnForward", forward_kernel<T, COUNT>,
                {blocks_of(a.N * a.Lq * a.M * lanes, kThreads), kThreads, 0, stream}, a, call.get<T>(0),
                call.get<float2>(3), call.get<float>(4), call.get<T>(5), lanes);
}

template <typename T>
int dispatch(const Attention &a, const Call &call, cudaStream_t stream) {
  constexpr int kWide = 16 / sizeof(T);
  if (a.D % kWide == 0 && aligned(call.data[0]) && aligned(call.data[5])) return start<T, kWide>(a, call, stream);
  return start<T, 1>(a, call, stream);
}

}  // namespace
}  // namespace mindvideo

using namespace mindvideo;

MINDVIDEO_EXPORT int MsDeformAttnForward(int count, void **data, int *ranks, int64_t **shapes, const char **types,
                                         void *stream, void *) {
  const Call call{count, data, ranks, shapes, types};
  if (count != 6) return refuse(kWrongCount, "MsDeformAttnForward", "wrong number of tensors");
  Attention a;
  if (const int status = read_attention(call, "MsDeformAttnForward", a)) return status;
  if (call.size(5) != a.N * a.Lq * a.M * a.D || std::strcmp(types[5], types[0]) != 0)
    return refuse(kWrongShape, "MsDeformAttnForward", "the output must be [N, Lq, M*D] of value's type");
  if (call.size(5) == 0) return kOk;
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  if (call.is(0, "float32")) return dispatch<float>(a, call, on);
  if (call.is(0, "float16")) return dispatch<__half>(a, call, on);
  return dispatch<__nv_bfloat16>(a, call, on);
}
