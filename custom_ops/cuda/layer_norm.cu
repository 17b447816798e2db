// Layer normalisation over the last axis, with a residual: a warp a row. Numbers are summed in float32; x, the residual
// and what has their shape share one type, weight, bias and their gradients another.
#include "device_vector.cuh"
#include "launch.cuh"
#include "reduce.cuh"

namespace mindvideo {
namespace {

constexpr int kRowsPerBlock = kThreads / kWarp;
constexpr int kMaxParts = 256;  // of the rows, when gradients of weight and bias are summed

struct Moments {
  float mean, scale;  // scale = 1 / sqrt(variance + epsilon)
};

// Row r of x plus the residual, in runs of COUNT channels.
template <typename T, int COUNT>
struct Rows {
  const T *x, *residual;  // residual may be null
  int64_t channels;
  __device__ Channels<T, COUNT> at(int64_t row, int64_t c) const {
    Channels<T, COUNT> sum = Channels<T, COUNT>::load(x + row * channels + c);
    if (residual) sum.add_scaled(1.f, Channels<T, COUNT>::load(residual + row * channels + c));
    return sum;
  }
  __device__ Moments moments(int64_t row, float epsilon, int lane) const {
    float sum = 0.f, squares = 0.f;
    for (int64_t c = lane * COUNT; c < channels; c += kWarp * COUNT) {
      const Channels<T, COUNT> v = at(row, c);
#pragma unroll
      for (int i = 0; i < COUNT; ++i) sum += v.v[i];
    }
    const float mean = warp_sum(sum) / static_cast<float>(channels);
    for (int64_t c = lane * COUNT; c < channels; c += kWarp * COUNT) {
      const Channels<T, COUNT> v = at(row, c);
#pragma unroll
      for (int i = 0; i < COUNT; ++i) squares += (v.v[i] - mean) * (v.v[i] - mean);
    }
    return {mean, rsqrtf(warp_sum(squares) / static_cast<float>(channels) + epsilon)};
  }
};

template <typename T, typename W, int COUNT>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(Rows<T, COUNT> rows, int64_t count, const W *weight, const W *bias, const float *epsilon, T *output) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  if (row >= count) return;
  const Moments m = rows.moments(row, *epsilon, lane);
  for (int64_t c = lane * COUNT; c < rows.channels; c += kWarp * COUNT) {
    Channels<T, COUNT> v = rows.at(row, c);
    const Channels<W, COUNT> w = Channels<W, COUNT>::load(weight + c), b = Channels<W, COUNT>::load(bias + c);
#pragma unroll
    for (int i = 0; i < COUNT; ++i) v.v[i] = fmaf((v.v[i] - m.mean) * m.scale, w.v[i], b.v[i]);
    v.store(output + row * rows.channels + c);
  }
}

// The gradient of x, and the rows' moments for the sums over rows.
template <typename T, typename W, int COUNT>
__global__ void __launch_bounds__(kThreads) backward_kernel(Rows<T, COUNT> rows, int64_t count, const W *weight,
                                                            const float *epsilon, const T *gradient, T *grad_x,
                                                            Moments *moments) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  if (row >= count) return;
  const Moments m = rows.moments(row, *epsilon, lane);
  float of_mean = 0.f, of_scale = 0.f;
  for (int64_t c = lane * COUNT; c < rows.channels; c += kWarp * COUNT) {
    const Channels<T, COUNT> v = rows.at(row, c), g = Channels<T, COUNT>::load(gradient + row * rows.channels + c);
    const Channels<W, COUNT> w = Channels<W, COUNT>::load(weight + c);
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
      of_mean += g.v[i] * w.v[i];
      of_scale += g.v[i] * w.v[i] * ((v.v[i] - m.mean) * m.scale);
    }
  }
  const float a = warp_sum(of_mean) / static_cast<float>(rows.channels);
  const float b = warp_sum(of_scale) / static_cast<float>(rows.channels);
  for (int64_t c = lane * COUNT; c < rows.channels; c += kWarp * COUNT) {
    Channels<T, COUNT> v = rows.at(row, c);
    const Channels<T, COUNT> g = Channels<T, COUNT>::load(gradient + row * rows.channels + c);
    const Channels<W, COUNT> w = Channels<W, COUNT>::load(weight + c);
#pragma unroll
    for (int i = 0; i < COUNT; ++i) v.v[i] = (g.v[i] * w.v[i] - a - (v.v[i] - m.mean) * m.scale * b) * m.scale;
    v.store(grad_x + row * rows.channels + c);
  }
  if (lane == 0) moments[row] = m;
}

// Shares of the gradients of weight and bias: a block sums kWarp channels over the rows of one part. parts [2, count, C].
template <typename T>
__global__ void __launch_bounds__(kThreads) columns_kernel(Rows<T, 1> rows, int64_t count, const Moments *moments,
                                                           const T *gradient, int64_t num_parts, float *parts) {
  float *const sums = shared_memory<float>();  // [2, kRowsPerBlock, kWarp]
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int64_t part = blockIdx.x % num_parts, c = blockIdx.x / num_parts * kWarp + lane;
  float to_weight = 0.f, to_bias = 0.f;
  if (c < rows.channels)
    for (int64_t row = part * kRowsPerBlock + warp; row < count; row += num_parts * kRowsPerBlock) {
      const float g = Channels<T, 1>::widen(gradient[row * rows.channels + c]);
      to_weight += g * (rows.at(row, c).v[0] - moments[row].mean) * moments[row].scale;
      to_bias += g;
    }
  sums[threadIdx.x] = to_weight, sums[kThreads + threadIdx.x] = to_bias;
  __syncthreads();
  if (warp > 1 || c >= rows.channels) return;
  float sum = 0.f;  // warp 0 finishes weight, warp 1 bias
  for (int i = 0; i < kRowsPerBlock; ++i) sum += sums[warp * kThreads + i * kWarp + lane];
  parts[(warp * num_parts + part) * rows.channels + c] = sum;
}

// One call: x, (residual,) vectors of [C], epsilon, (gradient,) outputs.
struct Norm {
  const Call &call;
  const char *op;
  bool residual;
  int vectors;  // weight, or weight and bias
  int64_t channels, rows;
  cudaStream_t stream;
  int weight() const { return residual ? 2 : 1; }
  int epsilon() const { return weight() + vectors; }

  int check(int count) {
    if (call.count != count) return refuse(kWrongCount, op, "wrong number of tensors");
    channels = call.ranks[0] > 0 ? call.axis(0, call.ranks[0] - 1) : 0;
    rows = channels ? call.size(0) / channels : 0;
    const bool known = call.is(0, "float32") || call.is(0, "float16") || call.is(0, "bfloat16");
    const char *const of_vectors = call.types[weight()];
    bool types = known && call.is(epsilon(), "float32") && (call.is(weight(), "float32") || call.is(weight(), call.types[0]));
    bool shapes = call.size(epsilon()) == 1;
    for (int index = 0; index < call.count; ++index) {
      if (index == epsilon()) continue;
      const bool vector = (index >= weight() && index < epsilon()) || (vectors == 1 && index > epsilon() + 2);
      types = types && call.is(index, vector ? of_vectors : call.types[0]);
      shapes = shapes && call.size(index) == (vector ? channels : call.size(0));
    }
    if (!types) return refuse(kWrongType, op, "x must be float32, float16 or bfloat16, weight and bias of its type or float32");
    if (!shapes) return refuse(kWrongShape, op, "expected x [..., C], weight and bias [C], and results of the same shapes");
    return call.fits_int32() ? kOk : refuse(kTooLarge, op, "a tensor has more than 2^31 - 1 elements");
  }
  template <typename T, int COUNT>
  Rows<T, COUNT> x() const {
    return {call.get<T>(0), residual ? call.get<T>(1) : nullptr, channels};
  }
  bool wide(int run) const {
    for (int index = 0; index < call.count; ++index)
      if (index != epsilon() && !aligned(call.data[index])) return false;
    return channels % run == 0;
  }
  Grid grid() const { return {blocks_of(rows, kRowsPerBlock), kThreads, 0, stream}; }
};

template <typename T, typename W>
struct Forward {
  template <int COUNT>
  static int start(const Norm &n) {
    return launch(n.op, forward_kernel<T, W, COUNT>, n.grid(), n.x<T, COUNT>(), n.rows, n.call.get<W>(n.weight()),
                  n.call.get<W>(n.weight() + 1), n.call.get<float>(n.epsilon()), n.call.get<T>(n.epsilon() + 1));
  }
  static int run(const Norm &n) { return n.wide(16 / sizeof(T)) ? start<16 / sizeof(T)>(n) : start<1>(n); }
};

template <typename T, typename W>
struct Backward {
  template <int COUNT>
  static int start(const Norm &n, Moments *moments) {
    const int gradient = n.epsilon() + 1;
    return launch(n.op, backward_kernel<T, W, COUNT>, n.grid(), n.x<T, COUNT>(), n.rows, n.call.get<W>(n.weight()),
                  n.call.get<float>(n.epsilon()), n.call.get<T>(gradient), n.call.get<T>(gradient + 1), moments);
  }
  static int run(const Norm &n) {
    const int64_t wanted = blocks_of(n.rows, kRowsPerBlock), num_parts = wanted < kMaxParts ? wanted : kMaxParts;
    const int gradient = n.epsilon() + 1;
    const int64_t shares = 2 * num_parts * n.channels;
    Workspace space(n.rows * sizeof(Moments) + shares * sizeof(float), n.stream);
    if (!space.ok()) return refuse(kOutOfMemory, n.op, "no device memory for the sums over rows");
    Moments *const moments = space.get<Moments>();
    float *const parts = reinterpret_cast<float *>(moments + n.rows);
    int status = n.wide(16 / sizeof(T)) ? start<16 / sizeof(T)>(n, moments) : start<1>(n, moments);
    const Grid columns{num_parts * blocks_of(n.channels, kWarp), kThreads, 2 * kThreads * sizeof(float), n.stream};
    if (status == kOk)
      status = launch(n.op, columns_kernel<T>, columns, n.x<T, 1>(), n.rows, moments, n.call.get<T>(gradient), num_parts,
                      parts);
    for (int vector = 0; vector < 2 && status == kOk; ++vector)
      status = launch(n.op, sum_parts_kernel<W>, {blocks_of(n.channels, kThreads), kThreads, 0, n.stream},
                      parts + vector * num_parts * n.channels, num_parts, n.channels, n.call.get<W>(gradient + 2 + vector));
    return status;
  }
};

template <template <typename, typename> class Pass>
int by_type(const Norm &n) {
  const bool same = n.call.is(n.weight(), n.call.types[0]);
  if (n.call.is(0, "float32")) return Pass<float, float>::run(n);
  if (n.call.is(0, "float16")) return same ? Pass<__half, __half>::run(n) : Pass<__half, float>::run(n);
  return same ? Pass<__nv_bfloat16, __nv_bfloat16>::run(n) : Pass<__nv_bfloat16, float>::run(n);
}

int forward(const char *op, const Call &call, bool residual, void *stream) {
  Norm n{call, op, residual, 2, 0, 0, static_cast<cudaStream_t>(stream)};
  if (const int status = n.check(residual ? 6 : 5)) return status;
  return call.size(0) == 0 ? kOk : by_type<Forward>(n);
}

int backward(const char *op, const Call &call, bool residual, void *stream) {
  Norm n{call, op, residual, 1, 0, 0, static_cast<cudaStream_t>(stream)};
  if (const int status = n.check(residual ? 8 : 7)) return status;
  if (call.size(0) > 0) return by_type<Backward>(n);
  const size_t bytes = call.is(n.weight(), "float32") ? 4 : 2;
  for (int index = call.count - 2; index < call.count && n.channels > 0; ++index)
    cudaMemsetAsync(call.data[index], 0, n.channels * bytes, n.stream);
  return launched(op);
}

}  // namespace
}  // namespace mindvideo

using namespace mindvideo;

#define LAYER_NORM_OP(name, pass)                                                                                         \
  MINDVIDEO_EXPORT int name(int count, void **data, int *ranks, int64_t **shapes, const char **types, void *stream,      \
                            void *) {                                                                                     \
    const Call call{count, data, ranks, shapes, types};                                                                   \
    return pass;                                                                                                          \
  }

// As on the CPU: the residual makes one tensor more, also under names of their own.
LAYER_NORM_OP(LayerNormForward, forward("LayerNormForward", call, count == 6, stream))
LAYER_NORM_OP(LayerNormBackward, backward("LayerNormBackward", call, count == 8, stream))
LAYER_NORM_OP(ResidualLayerNormForward, forward("ResidualLayerNormForward", call, true, stream))
LAYER_NORM_OP(ResidualLayerNormBackward, backward("ResidualLayerNormBackward", call, true, stream))
