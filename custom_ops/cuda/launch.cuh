// Host-side checks and helpers that the CUDA operators share.
#pragma once

#include <cuda_runtime.h>

#include "../aot.h"

namespace mindvideo {

constexpr int kThreads = 256;  // of a block, where nothing else is said
constexpr int kWarp = 32;

inline int launched(const char *op) {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? kOk : refuse(kDeviceError, op, cudaGetErrorString(error));
}

struct Grid {
  int64_t blocks;
  int threads;
  size_t shared_bytes;
  cudaStream_t stream;
};

// The arguments follow the kernel's parameters, not their own types.
template <typename T>
struct Same {
  using type = T;
};

// Starts a kernel; no blocks are no work. The one place with launch syntax, so that another compiler can read the rest.
template <typename... Parameters>
int launch(const char *op, void (*kernel)(Parameters...), const Grid &grid, typename Same<Parameters>::type... arguments) {
  if (grid.blocks > INT32_MAX) return refuse(kTooLarge, op, "too many blocks");
  if (grid.blocks == 0) return kOk;
  const unsigned blocks = static_cast<unsigned>(grid.blocks), threads = static_cast<unsigned>(grid.threads);
#ifdef __CUDACC__
  kernel<<<blocks, threads, grid.shared_bytes, grid.stream>>>(arguments...);
#else
  emulation::launch(op, kernel, blocks, threads, grid.shared_bytes, arguments...);
#endif
  return launched(op);
}

// The shared memory that the launch asked for.
template <typename T>
__device__ T *shared_memory() {
#ifdef __CUDACC__
  extern __shared__ __align__(16) unsigned char shared_bytes[];
  return reinterpret_cast<T *>(shared_bytes);
#else
  return static_cast<T *>(emulation::dynamic_shared_memory());
#endif
}

inline int64_t blocks_of(int64_t size, int64_t share) { return (size + share - 1) / share; }

inline bool aligned(const void *p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

// Memory for the length of one call, ordered on the stream.
class Workspace {
 public:
  Workspace(size_t bytes, cudaStream_t stream) : stream_(stream) {
    if (bytes > 0 && cudaMallocAsync(&data_, bytes, stream) != cudaSuccess) data_ = nullptr;
    ok_ = bytes == 0 || data_ != nullptr;
  }
  ~Workspace() {
    if (data_) cudaFreeAsync(data_, stream_);
  }
  Workspace(const Workspace &) = delete;
  Workspace &operator=(const Workspace &) = delete;
  bool ok() const { return ok_; }
  template <typename T>
  T *get() const {
    return static_cast<T *>(data_);
  }

 private:
  void *data_ = nullptr;
  cudaStream_t stream_;
  bool ok_ = false;
};

}  // namespace mindvideo
