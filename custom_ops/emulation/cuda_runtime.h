// CUDA's language and runtime as far as the kernels of this folder use them, for g++: with this folder on the include
// path the .cu files compile as they are. Threads are fibres; machine.h says what is checked. Test code.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "machine.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
// So that a finding names the line of the kernel and not one of this file.
#define EMULATION_INLINE inline __attribute__((always_inline))

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

// The runtime, runtime.cpp.
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2, cudaErrorInvalidConfiguration = 9,
                   cudaErrorLaunchFailure = 719 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
using cudaStream_t = void *;
extern "C" {
cudaError_t cudaMallocAsync(void **pointer, size_t bytes, cudaStream_t stream);
cudaError_t cudaFreeAsync(void *pointer, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *pointer, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaGetLastError();
const char *cudaGetErrorString(cudaError_t error);
}
template <typename T>
cudaError_t cudaMallocAsync(T **pointer, size_t bytes, cudaStream_t stream) {
  return cudaMallocAsync(reinterpret_cast<void **>(pointer), bytes, stream);
}

// Where a thread is. The machine sets these before it lets a thread run.
#define threadIdx (emulation::place.thread)
#define blockIdx (emulation::place.block)
#define blockDim (emulation::place.block_size)
#define gridDim (emulation::place.grid_size)

// Barriers and shuffles.
EMULATION_INLINE void __syncthreads() { emulation::block_barrier(); }
EMULATION_INLINE void __syncwarp(unsigned mask = 0xffffffffu) { emulation::warp_barrier(mask); }

namespace emulation {

template <typename T>
EMULATION_INLINE T shuffle(unsigned mask, T value, Shuffle kind, unsigned by, int width) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = exchange(mask, bits, kind, by, static_cast<unsigned>(width));
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace emulation

template <typename T>
EMULATION_INLINE T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
  return emulation::shuffle(mask, value, emulation::Shuffle::kFrom, static_cast<unsigned>(lane), width);
}
template <typename T>
EMULATION_INLINE T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
  return emulation::shuffle(mask, value, emulation::Shuffle::kDown, by, width);
}
template <typename T>
EMULATION_INLINE T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
  return emulation::shuffle(mask, value, emulation::Shuffle::kUp, by, width);
}
template <typename T>
EMULATION_INLINE T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32) {
  return emulation::shuffle(mask, value, emulation::Shuffle::kXor, static_cast<unsigned>(with), width);
}

// Atomics. The machine checks the address and notes the access, then lets no other thread in between.
EMULATION_INLINE float atomicAdd(float *at, float x) { return emulation::atomic_add(at, x); }
EMULATION_INLINE double atomicAdd(double *at, double x) { return emulation::atomic_add(at, x); }
EMULATION_INLINE int atomicAdd(int *at, int x) { return emulation::atomic_add(at, x); }
EMULATION_INLINE unsigned atomicAdd(unsigned *at, unsigned x) { return emulation::atomic_add(at, x); }
EMULATION_INLINE unsigned long long atomicAdd(unsigned long long *at, unsigned long long x) { return emulation::atomic_add(at, x); }
EMULATION_INLINE float4 atomicAdd(float4 *at, float4 x) {
  float *const first = reinterpret_cast<float *>(at);
  emulation::check_alignment(at, 16);
  return {atomicAdd(first, x.x), atomicAdd(first + 1, x.y), atomicAdd(first + 2, x.z), atomicAdd(first + 3, x.w)};
}
EMULATION_INLINE unsigned atomicMax(unsigned *at, unsigned x) { return emulation::atomic_max(at, x); }

// Arithmetic. -ffp-contract=off: what is not an explicit fmaf is rounded after every step.
template <typename T>
T __ldg(const T *at) {
  return *at;
}
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float rsqrtf(float x) { return 1.f / std::sqrt(x); }
inline unsigned __float_as_uint(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float __uint_as_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
// Saturates as the hardware does; NaN becomes the smallest number.
inline long long __double2ll_rn(double x) {
  if (!(x >= -9223372036854775808.0)) return INT64_MIN;
  if (x >= 9223372036854775808.0) return INT64_MAX;
  return std::llrint(x);
}
using std::isfinite;
