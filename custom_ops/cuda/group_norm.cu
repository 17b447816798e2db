// Group normalisation with an optional ReLU: a block a group. The options lie in device memory (groups, epsilon, 1 for a
// ReLU), so that a launch cannot know how many groups there are: blocks take one after the other. Summed in float32.
#include <math_constants.h>

#include "device_vector.cuh"
#include "launch.cuh"
#include "reduce.cuh"

namespace mindvideo {
namespace {

constexpr int64_t kMaxBlocks = 2048;

template <typename T, typename W>
struct Tensors {
  int64_t B, C, positions;
  const T *x;
  const W *weight, *bias;
  const float *options;
};

struct Group {
  int64_t channels, first_channel, at, size;  // `at`: its first number in x
  float mean, scale;
};

// Moments of a group by the whole block. Groups that do not divide the channels make every result NaN.
template <typename T, typename W>
__device__ Group group_of(const Tensors<T, W> &t, int64_t unit, int64_t groups, float *scratch) {
  Group g;
  g.channels = t.C / groups, g.first_channel = unit % groups * g.channels;
  g.at = unit * g.channels * t.positions, g.size = g.channels * t.positions;
  float sum = 0.f, squares = 0.f;
  for (int64_t i = threadIdx.x; i < g.size; i += kThreads) sum += Channels<T, 1>::widen(t.x[g.at + i]);
  g.mean = block_sum(sum, scratch) / static_cast<float>(g.size);
  for (int64_t i = threadIdx.x; i < g.size; i += kThreads) {
    const float d = Channels<T, 1>::widen(t.x[g.at + i]) - g.mean;
    squares += d * d;
  }
  g.scale = rsqrtf(block_sum(squares, scratch) / static_cast<float>(g.size) + t.options[1]);
  return g;
}

__device__ inline int64_t groups_of(const float *options, int64_t channels) {
  const int64_t groups = options[0] >= 1.f && options[0] <= static_cast<float>(channels) ? static_cast<int64_t>(options[0]) : 0;
  return groups > 0 && channels % groups == 0 ? groups : 0;
}

template <typename T>
__device__ void fill_nan(T *to, int64_t size) {
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < size;
       i += static_cast<int64_t>(gridDim.x) * kThreads)
    Channels<T, 1>::narrow(CUDART_NAN_F, to[i]);
}

template <typename T, typename W>
__global__ void __launch_bounds__(kThreads) forward_kernel(Tensors<T, W> t, T *output) {
  float *const scratch = shared_memory<float>();
  const int64_t groups = groups_of(t.options, t.C);
  if (groups == 0) return fill_nan(output, t.B * t.C * t.positions);
  const bool relu = t.options[2] != 0.f;
  for (int64_t unit = blockIdx.x; unit < t.B * groups; unit += gridDim.x) {
    const Group g = group_of(t, unit, groups, scratch);
    for (int64_t i = threadIdx.x; i < g.size; i += kThreads) {
      const int64_t c = g.first_channel + i / t.positions;
      const float a = g.scale * Channels<W, 1>::widen(t.weight[c]), b = Channels<W, 1>::widen(t.bias[c]);
      const float y = fmaf(Channels<T, 1>::widen(t.x[g.at + i]) - g.mean, a, b);
      // A NaN stays one.
      Channels<T, 1>::narrow(relu && y <= 0.f ? 0.f : y, output[g.at + i]);
    }
  }
}

// The gradient that passes the ReLU: y is computed exactly as in the forward pass.
struct Gate {
  float mean, a, b;
  bool relu;
  __device__ float operator()(float x, float gradient) const {
    return relu && !(fmaf(x - mean, a, b) > 0.f) ? 0.f : gradient;
  }
};

template <typename T, typename W>
__device__ Gate gate_of(const Tensors<T, W> &t, const Group &g, int64_t c, bool relu) {
  return {g.mean, g.scale * Channels<W, 1>::widen(t.weight[c]), Channels<W, 1>::widen(t.bias[c]), relu};
}

// shares [2, B, C]: each image's part of the gradients of weight and bias, a warp a channel.
template <typename T, typename W>
__global__ void __launch_bounds__(kThreads) backward_kernel(Tensors<T, W> t, const T *gradient, T *grad_x, float *shares) {
  float *const scratch = shared_memory<float>();
  const int64_t groups = groups_of(t.options, t.C);
  if (groups == 0) {
    fill_nan(grad_x, t.B * t.C * t.positions);
    return fill_nan(shares, 2 * t.B * t.C);
  }
  const bool relu = t.options[2] != 0.f;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int64_t unit = blockIdx.x; unit < t.B * groups; unit += gridDim.x) {
    const Group g = group_of(t, unit, groups, scratch);
    const int64_t image = unit / groups;
    float of_mean = 0.f, of_scale = 0.f;
    for (int64_t c = warp; c < g.channels; c += kThreads / kWarp) {
      const int64_t channel = g.first_channel + c, from = g.at + c * t.positions;
      const Gate gate = gate_of(t, g, channel, relu);
      float plain = 0.f, scaled = 0.f;
      for (int64_t i = lane; i < t.positions; i += kWarp) {
        const float x = Channels<T, 1>::widen(t.x[from + i]);
        const float passed = gate(x, Channels<T, 1>::widen(gradient[from + i]));
        plain += passed, scaled += passed * (x - g.mean);
      }
      plain = warp_sum(plain), scaled = warp_sum(scaled) * g.scale;
      if (lane > 0) continue;
      const float w = Channels<W, 1>::widen(t.weight[channel]);
      of_mean += plain * w, of_scale += scaled * w;
      shares[image * t.C + channel] = scaled, shares[(t.B + image) * t.C + channel] = plain;
    }
    const float size = static_cast<float>(g.size);
    const float mean_part = block_sum(of_mean, scratch) / size * g.scale;
    const float slope = block_sum(of_scale, scratch) / size * g.scale * g.scale;
    for (int64_t i = threadIdx.x; i < g.size; i += kThreads) {
      const Gate gate = gate_of(t, g, g.first_channel + i / t.positions, relu);
      const float x = Channels<T, 1>::widen(t.x[g.at + i]);
      const float passed = gate(x, Channels<T, 1>::widen(gradient[g.at + i]));
      Channels<T, 1>::narrow(passed * gate.a - mean_part - (x - g.mean) * slope, grad_x[g.at + i]);
    }
  }
}

// One call: x, weight, bias, options, (gradient,) outputs.
struct Norm {
  const Call &call;
  const char *op;
  cudaStream_t stream;

  int check(int count) const {
    if (call.count != count) return refuse(kWrongCount, op, "wrong number of tensors");
    if (call.ranks[0] < 2) return refuse(kWrongShape, op, "expected x [B, C, ...]");
    const bool known = call.is(0, "float32") || call.is(0, "float16") || call.is(0, "bfloat16");
    bool types = known && call.is(3, "float32") && (call.is(1, "float32") || call.is(1, call.types[0]));
    bool shapes = call.size(3) == 3;
    for (int index = 0; index < count; ++index) {
      if (index == 3) continue;
      const bool vector = index == 1 || index == 2 || index > 5;
      types = types && call.is(index, vector ? call.types[1] : call.types[0]);
      shapes = shapes && call.size(index) == (vector ? call.axis(0, 1) : call.size(0));
    }
    if (!types) return refuse(kWrongType, op, "x must be float32, float16 or bfloat16, weight and bias of its type or float32");
    if (!shapes) return refuse(kWrongShape, op, "expected x [B, C, ...], weight and bias [C], [groups, epsilon, relu]");
    return call.fits_int32() ? kOk : refuse(kTooLarge, op, "a tensor has more than 2^31 - 1 elements");
  }
  template <typename T, typename W>
  Tensors<T, W> tensors() const {
    const int64_t B = call.axis(0, 0), C = call.axis(0, 1);
    return {B, C, call.size(0) / (B * C), call.get<T>(0), call.get<W>(1), call.get<W>(2), call.get<float>(3)};
  }
  Grid grid() const {
    const int64_t units = call.axis(0, 0) * call.axis(0, 1);
    return {units < kMaxBlocks ? units : kMaxBlocks, kThreads, kThreads / kWarp * sizeof(float), stream};
  }
};

template <typename T, typename W>
struct Forward {
  static int run(const Norm &n) {
    return launch(n.op, forward_kernel<T, W>, n.grid(), n.tensors<T, W>(), n.call.get<T>(4));
  }
};

template <typename T, typename W>
struct Backward {
  static int run(const Norm &n) {
    const Tensors<T, W> t = n.tensors<T, W>();
    Workspace space(2 * t.B * t.C * sizeof(float), n.stream);
    if (!space.ok()) return refuse(kOutOfMemory, n.op, "no device memory for the sums over images");
    float *const shares = space.get<float>();
    int status = launch(n.op, backward_kernel<T, W>, n.grid(), t, n.call.get<T>(4), n.call.get<T>(5), shares);
    for (int vector = 0; vector < 2 && status == kOk; ++vector)
      status = launch(n.op, sum_parts_kernel<W>, {blocks_of(t.C, kThreads), kThreads, 0, n.stream},
                      shares + vector * t.B * t.C, t.B, t.C, n.call.get<W>(6 + vector));
    return status;
  }
};

template <template <typename, typename> class Pass>
int by_type(const Norm &n) {
  const bool same = n.call.is(1, n.call.types[0]);
  if (n.call.is(0, "float32")) return Pass<float, float>::run(n);
  if (n.call.is(0, "float16")) return same ? Pass<__half, __half>::run(n) : Pass<__half, float>::run(n);
  return same ? Pass<__nv_bfloat16, __nv_bfloat16>::run(n) : Pass<__nv_bfloat16, float>::run(n);
}

}  // namespace
}  // namespace mindvideo

using namespace mindvideo;

MINDVIDEO_EXPORT int GroupNormForward(int count, void **data, int *ranks, int64_t **shapes, const char **types,
                                      void *stream, void *) {
  const Call call{count, data, ranks, shapes, types};
  const Norm n{call, "GroupNormForward", static_cast<cudaStream_t>(stream)};
  if (const int status = n.check(5)) return status;
  return call.size(0) == 0 ? kOk : by_type<Forward>(n);
}

MINDVIDEO_EXPORT int GroupNormBackward(int count, void **data, int *ranks, int64_t **shapes, const char **types,
                                       void *stream, void *) {
  const Call call{count, data, ranks, shapes, types};
  const Norm n{call, "GroupNormBackward", static_cast<cudaStream_t>(stream)};
  if (const int status = n.check(8)) return status;
  if (call.size(0) > 0) return by_type<Backward>(n);
  for (int index = 6; index < 8 && call.axis(0, 1) > 0; ++index)
    cudaMemsetAsync(call.data[index], 0, call.axis(0, 1) * (call.is(1, "float32") ? 4 : 2), n.stream);
  return launched(n.op);
}
