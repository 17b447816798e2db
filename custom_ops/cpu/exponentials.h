// A row of a softmax before it is divided by its sum.
#pragma once

#include <cstdint>

#include "simd.h"

namespace {

// Logits [row], of which those from S on are -infinity -> their exponentials, with the largest as 1; returns the sum.
inline float exponentials(float *logits, int64_t row) {
  Vec most = Vec::load(logits);
  for (int64_t s = Vec::width; s < row; s += Vec::width) most = greatest(most, Vec::load(logits + s));
  const Vec shift = Vec::all(most.largest());
  Vec sum = Vec::zero(), other = Vec::zero();
  int64_t s = 0;
  for (; s + 2 * Vec::width <= row; s += 2 * Vec::width) {
    const Vec a = exponential(Vec::load(logits + s) - shift), b = exponential(Vec::load(logits + s + Vec::width) - shift);
    a.store(logits + s), b.store(logits + s + Vec::width);
    sum = sum + a, other = other + b;
  }
  for (; s < row; s += Vec::width) {
    const Vec a = exponential(Vec::load(logits + s) - shift);
    a.store(logits + s);
    sum = sum + a;
  }
  return (sum + other).sum();
}

}  // namespace
