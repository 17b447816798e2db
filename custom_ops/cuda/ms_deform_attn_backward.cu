#include "device_vector.cuh"
#include "gradient_sum.cuh"
#include "ms_deform_attn.cuh"

namespace mindvideo {
namespace {

constexpr char kName[] = "MsDeformAttnBackward";
constexpr int kQueriesPerBlock = 512;
constexpr int kSharedFloats = 48 * 1024 / 4;

template <int WIDTH>
__device__ float lane_sum(float x) {
#pragma unroll
  for (int step = WIDTH / 2; step > 0; step /= 2) x += __shfl_down_sync(0xffffffffu, x, step, WIDTH);
  return x;
}

struct Gradients {
  const float2 *locations;
  const float *weights;
  float2 *grad_locations;
  float *grad_weights;
};

struct SharedSum {
  float *data;
  __device__ void add(int64_t at, float x) const { atomicAdd(data + at, x); }
  __device__ void add4(int64_t at, float4 x) const { add(at, x.x), add(at + 1, x.y), add(at + 2, x.z), add(at + 3, x.w); }
};

// One sample by LANES threads: dot products with the four corners are reduced over the lanes by shuffles, so that every
// gradient of a location or a weight is written once. Every lane of the warp takes part, `active` or not.
template <typename T, int COUNT, int LANES, typename Sum>
__device__ void backward_sample(const Attention &a, const Level &level, bool active, int64_t sample, const T *pixels,
                                const T *gradient, const Sum &sum, int64_t base, int64_t stride, const Gradients &g,
                                int lane) {
  const float2 at = active ? __ldg(g.locations + sample) : make_float2(-9.f, -9.f);
  const Position position = position_at(level, at.x, at.y);
  const bool touches = active && position.touches;
  const float attention = touches ? __ldg(g.weights + sample) : 0.f;
  float dots[4] = {0.f, 0.f, 0.f, 0.f};
  if (touches) {
    for (int64_t c = static_cast<int64_t>(lane) * COUNT; c < a.D; c += static_cast<int64_t>(LANES) * COUNT) {
      const Channels<T, COUNT> grad = Channels<T, COUNT>::load(gradient + c);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (position.row[k] < 0) continue;
        dots[k] += grad.dot(Channels<T, COUNT>::load(pixels + position.row[k] * (a.M * a.D) + c));
        accumulate(sum, base + position.row[k] * stride + c, position.weight[k] * attention, grad);
      }
    }
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) dots[k] = lane_sum<LANES>(dots[k]);
  if (lane != 0 || !active) return;
  float2 to_location = make_float2(0.f, 0.f);
  float to_weight = 0.f;
  if (touches) {
    const float ly = position.ly, lx = position.lx;
    to_weight = (position.weight[0] * dots[0] + position.weight[1] * dots[1]) +
                (position.weight[2] * dots[2] + position.weight[3] * dots[3]);
    to_location.x = level.width * attention * ((1.f - ly) * (dots[1] - dots[0]) + ly * (dots[3] - dots[2]));
    to_location.y = level.height * attention * ((1.f - lx) * (dots[2] - dots[0]) + lx * (dots[3] - dots[1]));
  }
  g.grad_locations[sample] = to_location;
  g.grad_weights[sample] = to_weight;
}

// A block works on one level of one head of one image, for kQueriesPerBlock queries. Where the level's pixels fit into
// shared memory their gradients are summed there and added to global memory once a block.
template <typename T, int COUNT, int LANES, typename Sum, bool SHARED>
__global__ void __launch_bounds__(kThreads) backward_kernel(Attention a, const T *value, const T *gradient, Gradients g,
                                                            Sum sum, int64_t parts) {
  float *const staged = shared_memory<float>();
  const int64_t part = blockIdx.x % parts, l = blockIdx.x / parts % a.L;
  const int64_t head = blockIdx.x / (parts * a.L) % a.M, image = blockIdx.x / (parts * a.L * a.M);
  const Level level = level_of(a, l);
  const int64_t first = ((image * a.S + level.start) * a.M + head) * a.D;
  const int64_t size = static_cast<int64_t>(level.height) * level.width * a.D;
  const bool stage = SHARED && size <= kSharedFloats;
  if (stage) {
    for (int64_t i = threadIdx.x; i < size; i += kThreads) staged[i] = 0.f;
    __syncthreads();
  }
  const int64_t begin = part * kQueriesPerBlock, end = begin + kQueriesPerBlock < a.Lq ? begin + kQueriesPerBlock : a.Lq;
  constexpr int kGroups = kThreads / LANES;
  const int group = threadIdx.x / LANES, lane = threadIdx.x % LANES;
  // Every thread runs the same number of turns, because the shuffles need whole warps.
  for (int64_t turn = begin; turn < end; turn += kGroups) {
    const int64_t q = turn + group;
    const bool active = q < end;
    const int64_t item = (image * a.Lq + (active ? q : begin)) * a.M + head;
    for (int64_t p = 0; p < a.P; ++p) {
      const int64_t sample = (item * a.L + l) * a.P + p;
      if (stage)
        backward_sample<T, COUNT, LANES>(a, level, active, sample, value + first, gradient + item * a.D,
                                         SharedSum{staged}, 0, a.D, g, lane);
      else
        backward_sample<T, COUNT, LANES>(a, level, active, sample, value + first, gradient + item * a.D, sum, first,
                                         a.M * a.D, g, lane);
    }
  }
  if (stage) {
    __syncthreads();
    for (int64_t i = threadIdx.x; i < size; i += kThreads)
      if (staged[i] != 0.f) sum.add(first + i / a.D * (a.M * a.D) + i % a.D, staged[i]);
  }
}

template <typename T, int COUNT, int LANES, typename Sum>
int start(const Attention &a, const Call &call, const Sum &sum, cudaStream_t stream) {
  constexpr bool kShared = sizeof(Sum) == sizeof(PlainSum);
  const int64_t parts = blocks_of(a.Lq, kQueriesPerBlock);
  const Gradients g{call.get<float2>(3), call.get<float>(4), call.get<float2>(7), call.get<float>(8)};
  const size_t shared_bytes = kShared ? kSharedFloats * sizeof(float) : 0;
  return launch(kName, backward_kernel<T, COUNT, LANES, Sum, kShared>,
                {parts * a.L * a.M * a.N, kThreads, shared_bytes, stream}, a, call.get<T>(0), call.get<T>(5), g, sum,
                parts);
}

template <typename T, typename Sum>
int dispatch(const Attention &a, const Call &call, const Sum &sum, cudaStream_t stream) {
  constexpr int kWide = 16 / sizeof(T);
  if (a.D % kWide == 0 && aligned(call.data[0]) && aligned(call.data[5]) && aligned(call.data[6])) {
    switch (lanes_for(a.D, kWide)) {
      case 1: return start<T, kWide, 1>(a, call, sum, stream);
      case 2: return start<T, kWide, 2>(a, call, sum, stream);
      case 4: return start<T, kWide, 4>(a, call, sum, stream);
      case 8: return start<T, kWide, 8>(a, call, sum, stream);
      case 16: return start<T, kWide, 16>(a, call, sum, stream);
      default: return start<T, kWide, 32>(a, call, sum, stream);
    }
  }
  return start<T, 1, 32>(a, call, sum, stream);
}

template <typename T>
int backward(const Attention &a, const Call &call, cudaStream_t stream) {
  return sum_gradient(kName, call.get<T>(6), call.size(0), Factor<T>{call.get<T>(5), call.size(5)},
                      Factor<float>{call.get<float>(4), call.size(4)}, a.Lq * a.P, stream,
                      [&](const auto &sum) { return dispatch<T>(a, call, sum, stream); });
}

}  // namespace
}  // namespace mindvideo

using namespace mindvideo;

MINDVIDEO_EXPORT int MsDeformAttnBackward(int count, void **data, int *ranks, int64_t **shapes, const char **types,
                                          void *stream, void *) {
  const Call call{count, data, ranks, shapes, types};
  if (count != 9) return refuse(kWrongCount, kName, "wrong number of tensors");
  Attention a;
  if (const int status = read_attention(call, kName, a)) return status;
  if (call.size(5) != a.N * a.Lq * a.M * a.D || call.size(6) != call.size(0) || call.size(7) != call.size(3) ||
      call.size(8) != call.size(4))
    return refuse(kWrongShape, kName, "gradients must have the shapes of their tensors");
  if (std::strcmp(types[5], types[0]) != 0 || std::strcmp(types[6], types[0]) != 0 || !call.is(7, "float32") ||
      !call.is(8, "float32"))
    return refuse(kWrongType, kName, "gradients must have the types of their tensors");
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  if (call.size(0) == 0 || call.size(4) == 0) {
    const size_t item = call.is(0, "float32") ? 4 : 2;
    if (call.size(0) > 0) cudaMemsetAsync(data[6], 0, call.size(0) * item, on);
    return launched(kName);
  }
  if (call.is(0, "float32")) return backward<float>(a, call, on);
  if (call.is(0, "float16")) return backward<__half>(a, call, on);
  return backward<__nv_bfloat16>(a, call, on);
}
