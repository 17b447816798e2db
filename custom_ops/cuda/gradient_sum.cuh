// Sums of gradients to which many threads add: plainly, or the same bit by bit in every run.
#pragma once

#include <math_constants.h>

#include <cfloat>
#include <cstdlib>
#include <cstring>

#include "device_vector.cuh"
#include "launch.cuh"

namespace mindvideo {

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

// The largest absolute number of an array, as bits (floats that are not negative order like their bits; NaN is on top).
template <typename T>
__global__ void largest_kernel(const T *x, int64_t size, unsigned *largest) {
  unsigned most = 0;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x; i < size;
       i += static_cast<int64_t>(gridDim.x) * kThreads) {
    const unsigned bits = __float_as_uint(fabsf(Channels<T, 1>::widen(x[i])));
    most = bits > most ? bits : most;
  }
  atomicMax(largest, most);
}

// 2^61 over the largest sum that can occur; not finite when a gradient or a weight is not.
static __global__ void scale_kernel(const unsigned *largest, float terms, float *scale) {
  const float bound = __uint_as_float(largest[0]) * __uint_as_float(largest[1]) * terms;
  *scale = isfinite(bound) ? exp2f(floorf(fminf(120.f, 61.f - log2f(fmaxf(bound, FLT_MIN))))) : CUDART_NAN_F;
}

template <typename T>
__global__ void narrow_kernel(const float *sum, int64_t size, T *to) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  if (i < size) Channels<T, 1>::narrow(sum[i], to[i]);
}

template <typename T>
__global__ void unscale_kernel(const unsigned long long *sum, const float *scale, int64_t size, T *to) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  if (i >= size) return;
  const double number = static_cast<double>(static_cast<long long>(sum[i])) / static_cast<double>(*scale);
  Channels<T, 1>::narrow(static_cast<float>(number), to[i]);
}

inline bool deterministic() {
  const char *wish = std::getenv("MINDVIDEO_DETERMINISTIC");
  return wish && std::strcmp(wish, "1") == 0;
}

// Numbers that bound what is added: no addend exceeds the product of the two factors' largest.
template <typename T>
struct Factor {
  const T *data;
  int64_t size;
};

template <typename T>
int find_largest(const char *op, const Factor<T> &factor, unsigned *largest, cudaStream_t stream) {
  const int64_t blocks = blocks_of(factor.size, kThreads);
  return launch(op, largest_kernel<T>, {blocks < 256 ? blocks : 256, kThreads, 0, stream}, factor.data, factor.size,
                largest);
}

// `start` launches the kernel that adds at most `terms` addends to each of `size` sums, given a PlainSum or a FixedSum.
template <typename T, typename A, typename B, typename Start>
int sum_fixed(const char *op, T *to, int64_t size, const Factor<A> &a, const Factor<B> &b, int64_t terms,
              cudaStream_t stream, const Start &start) {
  const size_t bytes = size * sizeof(unsigned long long) + 16;
  Workspace space(bytes, stream);
  if (!space.ok()) return refuse(kOutOfMemory, op, "no device memory for the deterministic sum");
  unsigned long long *sums = space.get<unsigned long long>();
  unsigned *largest = reinterpret_cast<unsigned *>(sums + size);
  float *scale = reinterpret_cast<float *>(largest + 2);
  if (cudaMemsetAsync(sums, 0, bytes, stream) != cudaSuccess) return launched(op);
  int status = find_largest(op, a, largest, stream);
  if (status == kOk) status = find_largest(op, b, largest + 1, stream);
  if (status == kOk)
    status = launch(op, scale_kernel, {1, 1, 0, stream}, largest, static_cast<float>(terms), scale);
  if (status == kOk) status = start(FixedSum{sums, scale});
  if (status != kOk) return status;
  return launch(op, unscale_kernel<T>, {blocks_of(size, kThreads), kThreads, 0, stream}, sums, scale, size, to);
}

template <typename T, typename A, typename B, typename Start>
int sum_gradient(const char *op, T *to, int64_t size, const Factor<A> &a, const Factor<B> &b, int64_t terms,
                 cudaStream_t stream, const Start &start) {
  if (deterministic()) return sum_fixed(op, to, size, a, b, terms, stream, start);
  constexpr bool kDirect = sizeof(T) == sizeof(float);
  Workspace space(kDirect ? 0 : size * sizeof(float), stream);
  if (!space.ok()) return refuse(kOutOfMemory, op, "no device memory for the float32 sum");
  float *const sums = kDirect ? reinterpret_cast<float *>(to) : space.get<float>();
  if (cudaMemsetAsync(sums, 0, size * sizeof(float), stream) != cudaSuccess) return launched(op);
  const int status = start(PlainSum{sums});
  if (status != kOk || kDirect) return status;
  return launch(op, narrow_kernel<T>, {blocks_of(size, kThreads), kThreads, 0, stream}, sums, size, to);
}

}  // namespace mindvideo
