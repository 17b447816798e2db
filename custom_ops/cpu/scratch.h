// Uninitialised scratch memory, aligned to cache lines, without exceptions and without the standard containers (whose
// inline code must not be compiled for one instruction set and linked into another).
#pragma once

#include <cstdint>
#include <cstdlib>

#include "sizes.h"

namespace {

class Scratch {
 public:
  explicit Scratch(int64_t floats) {
    void *p = nullptr;
    if (floats > 0 && posix_memalign(&p, 64, static_cast<size_t>(floats) * sizeof(float)) == 0)
      data_ = static_cast<float *>(p);
    ok_ = floats == 0 || data_ != nullptr;
  }
  ~Scratch() { std::free(data_); }
  Scratch(const Scratch &) = delete;
  Scratch &operator=(const Scratch &) = delete;
  bool ok() const { return ok_; }
  float *get() const { return data_; }

 private:
  float *data_ = nullptr;
  bool ok_ = false;
};

}  // namespace
