// What every exported operator receives, with checked access. Used by the CPU and the CUDA sources.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>

#define MINDVIDEO_EXPORT extern "C" __attribute__((visibility("default")))

namespace mindvideo {

// Return codes of the exported functions.
enum Status {
  kOk = 0,
  kWrongCount = 1,     // not the number of tensors that the operator has
  kWrongType = 2,      // a tensor has an element type that the operator does not read
  kWrongShape = 3,     // shapes do not fit together
  kTooLarge = 4,       // a tensor has more than 2^31 - 1 elements
  kOutOfMemory = 5,    // scratch memory could not be had
  kDeviceError = 6,    // the CUDA runtime refused a launch
  kNoInstructions = 7,  // the processor lacks what the operator computes with
};

// The parameters of one call: inputs first, then outputs.
struct Call {
  int count;
  void **data;
  int *ranks;
  int64_t **shapes;
  const char **types;

  int64_t size(int index) const {
    int64_t total = 1;
    for (int axis = 0; axis < ranks[index]; ++axis) total *= shapes[index][axis];
    return total;
  }
  int64_t axis(int index, int axis) const { return shapes[index][axis]; }
  bool is(int index, const char *type) const { return std::strcmp(types[index], type) == 0; }
  bool all_are(int first, int last, const char *type) const {
    for (int index = first; index <= last; ++index)
      if (!is(index, type)) return false;
    return true;
  }
  bool fits_int32() const {
    for (int index = 0; index < count; ++index)
      if (size(index) > INT32_MAX) return false;
    return true;
  }
  template <typename T>
  T *get(int index) const {
    return static_cast<T *>(data[index]);
  }
};

// The return code is all that the caller's framework shows, so the reason goes to the standard error stream.
inline int refuse(Status status, const char *op, const char *reason) {
  std::fprintf(stderr, "mindvideo %s: %s (code %d)\n", op, reason, static_cast<int>(status));
  return status;
}

}  // namespace mindvideo
