// A few neighbouring channels as float32 registers, whatever their type in memory. Included by the .cu files.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace mindvideo {

// COUNT channels of type T. Loads and stores are 16-byte accesses where COUNT * sizeof(T) is a multiple of 16.
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

  struct alignas(COUNT * sizeof(T) < 16 ? COUNT * sizeof(T) : 16) Packed {
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

}  // namespace mindvideo
