// A few neighbouring channels as float32 registers, whatever their type in memory. Included by the .cu files.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace mindvideo {

// COUNT channels of type T. Loads and stores are one 16-byte access where COUNT * sizeof(T) == 16.
template <typename T, int COUNT>
struct Channels {
  float v[COUNT];

  __device__ static Channels zero() {
    Channels r;
#pragma unroll
    for (int i = 0; i < COUNT; ++i) r.v[i] = 0.f;
    return r;
  }
  __device__ static float widen(float x) { return x; }
  __device__ static float widen(__half x) { return __half2float(x); }
  __device__ static float widen(__nv_bfloat16 x) { return __bfloat162float(x); }
  __device__ static void narrow(float x, float &to) { to = x; }
  __device__ static void narrow(float x, __half &to) { to = __float2half_rn(x); }
  __device__ static void narrow(float x, __nv_bfloat16 &to) { to = __float2bfloat16_rn(x); }

  struct alignas(COUNT * sizeof(T)) Packed {
    T item[COUNT];
  };
  __device__ static Channels load(const T *p) {
    const Packed packed = *reinterpret_cast<const Packed *>(p);
    Channels r;
#pragma unroll
    for (int i = 0; i < COUNT; ++i) r.v[i] = widen(packed.item[i]);
    return r;
  }
  __device__ void store(T *p) const {
    Packed packed;
#pragma unroll
    for (int i = 0; i < COUNT; ++i) narrow(v[i], packed.item[i]);
    *reinterpret_cast<Packed *>(p) = packed;
  }
  __device__ void add_scaled(float a, const Channels &o) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) v[i] = fmaf(a, o.v[i], v[i]);
  }
  __device__ float dot(const Channels &o) const {
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < COUNT; ++i) sum = fmaf(v[i], o.v[i], sum);
    return sum;
  }
};

// Where gradients of value are summed. Plain: float32, in the order in which the hardware gets to it. Fixed: 64-bit
// integers, whose sum does not depend on the order, scaled so that no sum can overflow.
struct PlainSum {
  float *data;
  __device__ void add(int64_t at, float x) const { atomicAdd(data + at, x); }
  __device__ void add4(int64_t at, float4 x) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    atomicAdd(reinterpret_cast<float4 *>(data + at), x);
#else
    add(at, x.x), add(at + 1, x.y), add(at + 2, x.z), add(at + 3, x.w);
#endif
  }
};

struct FixedSum {
  unsigned long long *data;
  const float *scale;  // one number, or not finite when the gradients are not
  __device__ void add(int64_t at, float x) const {
    const long long fixed = __double2ll_rn(static_cast<double>(x) * static_cast<double>(*scale));
    atomicAdd(data + at, static_cast<unsigned long long>(fixed));
  }
  __device__ void add4(int64_t at, float4 x) const { add(at, x.x), add(at + 1, x.y), add(at + 2, x.z), add(at + 3, x.w); }
};

template <typename Sum, typename T, int COUNT>
__device__ void accumulate(const Sum &sum, int64_t at, float weight, const Channels<T, COUNT> &x) {
  if constexpr (COUNT % 4 == 0) {
#pragma unroll
    for (int i = 0; i < COUNT; i += 4)
      sum.add4(at + i, make_float4(weight * x.v[i], weight * x.v[i + 1], weight * x.v[i + 2], weight * x.v[i + 3]));
  } else {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) sum.add(at + i, weight * x.v[i]);
  }
}

}  // namespace mindvideo
