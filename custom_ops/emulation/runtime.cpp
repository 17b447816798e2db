// The CUDA runtime's functions that the library and test_cuda.py call, on the memory of memory.cpp; and the findings.
#include <dlfcn.h>

#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <set>
#include <string>

#include "cuda_runtime.h"
#include "state.h"

#define EMULATION_EXPORT extern "C" __attribute__((visibility("default")))

namespace emulation {
namespace {

cudaError_t last_error = cudaSuccess;
std::string findings;
std::set<std::pair<const void *, std::string>> seen;
constexpr size_t kMaxFindings = 20;

cudaError_t fail(cudaError_t error) { return last_error = error; }

}  // namespace

const char *running_op = "";

void report(const void *code, const char *format, ...) {
  last_error = cudaErrorLaunchFailure;
  // One line for a place in the code and a kind of finding.
  if (!seen.insert({code, std::string(format)}).second || seen.size() > kMaxFindings) return;
  char line[400];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  findings += std::string(running_op) + ": " + line;
  Dl_info info;
  if (code && dladdr(code, &info)) {
    // The address before the return address belongs to the call.
    std::snprintf(line, sizeof line, " @0x%zx", static_cast<size_t>(static_cast<const char *>(code) -
                                                                  static_cast<const char *>(info.dli_fbase)) - 1);
    findings += line;
  }
  findings += "\n";
}

}  // namespace emulation

using namespace emulation;

// What was found since the last call, one line each; @ is the place in the library, for addr2line.
EMULATION_EXPORT const char *emulation_findings() {
  static std::string given;
  given = findings;
  findings.clear();
  seen.clear();
  return given.c_str();
}

// As fresh memory: a kernel that relies on what lies there is found, and so is a byte that it does not write.
EMULATION_EXPORT void emulation_forget(void *memory, size_t bytes) { mark(memory, bytes, false); }

EMULATION_EXPORT const char *cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "a launch that no card accepts";
    case cudaErrorLaunchFailure: return "the emulation found a mistake";
    default: return "invalid argument";
  }
}

EMULATION_EXPORT cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

EMULATION_EXPORT cudaError_t cudaMalloc(void **pointer, size_t bytes) {
  *pointer = allocate(bytes, false);
  return *pointer ? cudaSuccess : fail(cudaErrorMemoryAllocation);
}

EMULATION_EXPORT cudaError_t cudaFree(void *pointer) {
  release(pointer);
  return last_error;
}

EMULATION_EXPORT cudaError_t cudaMallocAsync(void **pointer, size_t bytes, cudaStream_t) { return cudaMalloc(pointer, bytes); }
EMULATION_EXPORT cudaError_t cudaFreeAsync(void *pointer, cudaStream_t) { return cudaFree(pointer); }

EMULATION_EXPORT cudaError_t cudaMemsetAsync(void *pointer, int value, size_t bytes, cudaStream_t) {
  if (!known(pointer, bytes)) {
    report(nullptr, "cudaMemsetAsync of %zu bytes at %p, which no allocation holds", bytes, pointer);
    return last_error;
  }
  std::memset(pointer, value, bytes);
  mark(pointer, bytes, true);
  return cudaSuccess;
}

EMULATION_EXPORT cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
  const void *const inner = kind == cudaMemcpyHostToDevice ? to : from;
  if (!known(inner, bytes) || (kind == cudaMemcpyDeviceToDevice && !known(to, bytes))) return fail(cudaErrorInvalidValue);
  if (kind != cudaMemcpyHostToDevice) {
    if (const size_t count = unwritten(from, bytes)) report(nullptr, "%zu bytes of a result were never written", count);
  }
  if (bytes > 0) std::memcpy(to, from, bytes);
  if (kind != cudaMemcpyDeviceToHost) mark(to, bytes, true);
  return last_error;
}

EMULATION_EXPORT cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}

EMULATION_EXPORT cudaError_t cudaDeviceSynchronize() { return last_error; }
// Everything runs at once, so that a stream is only a name.
EMULATION_EXPORT cudaError_t cudaStreamCreate(cudaStream_t *stream) {
  static char name;
  *stream = &name;
  return cudaSuccess;
}

// Events hold a time of this processor: nothing about a card, but the script that reads them runs.
EMULATION_EXPORT cudaError_t cudaEventCreate(double **event) {
  *event = new double(0);
  return cudaSuccess;
}
EMULATION_EXPORT cudaError_t cudaEventDestroy(double *event) {
  delete event;
  return cudaSuccess;
}
EMULATION_EXPORT cudaError_t cudaEventRecord(double *event, cudaStream_t) {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  *event = std::chrono::duration<double, std::milli>(now).count();
  return cudaSuccess;
}
EMULATION_EXPORT cudaError_t cudaEventSynchronize(double *) { return cudaSuccess; }
EMULATION_EXPORT cudaError_t cudaEventElapsedTime(float *milliseconds, const double *from, const double *to) {
  *milliseconds = static_cast<float>(*to - *from);
  return cudaSuccess;
}
