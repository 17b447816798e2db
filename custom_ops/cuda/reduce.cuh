// Sums over a warp and over a block, in an order that is always the same.
#pragma once

#include <cuda_runtime.h>

#include "device_vector.cuh"
#include "launch.cuh"

namespace mindvideo {

// Every lane gets the sum over the warp.
__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
  return x;
}

// Every thread gets the sum over a block of kThreads; `scratch` holds one number a warp.
__device__ inline float block_sum(float x, float *scratch) {
  x = warp_sum(x);
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = x;
  __syncthreads();
  float sum = 0.f;
  for (int i = 0; i < kThreads / kWarp; ++i) sum += scratch[i];
  __syncthreads();  // before the next call writes there
  return sum;
}

// The sum of parts [count, size], one thread a number.
template <typename T>
__global__ void sum_parts_kernel(const float *parts, int64_t count, int64_t size, T *to) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  if (i >= size) return;
  float sum = 0.f;
  for (int64_t part = 0; part < count; ++part) sum += parts[part * size + i];
  Channels<T, 1>::narrow(sum, to[i]);
}

}  // namespace mindvideo
