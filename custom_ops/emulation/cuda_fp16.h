// IEEE binary16 with rounding to nearest, ties to even, as cvt.rn.f16.f32 does it.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

struct __half {
  uint16_t bits;
};

inline float __half2float(__half h) {
  const uint32_t sign = (h.bits & 0x8000u) << 16, exponent = h.bits >> 10 & 31u, fraction = h.bits & 1023u;
  if (exponent == 0) {
    const float small = std::ldexp(static_cast<float>(fraction), -24);
    return sign ? -small : small;
  }
  const uint32_t wide = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
  float x;
  std::memcpy(&x, &wide, sizeof x);
  return x;
}

inline __half __float2half_rn(float x) {
  uint32_t wide;
  std::memcpy(&wide, &x, sizeof wide);
  const uint16_t sign = static_cast<uint16_t>(wide >> 16 & 0x8000u);
  const float size = std::fabs(x);
  if (std::isnan(x)) return {0x7fff};
  if (size >= 65520.f) return {static_cast<uint16_t>(sign | 0x7c00u)};
  // nearbyint rounds ties to even; below 2^-14 the steps stay at 2^-24.
  const int exponent = size < 0x1p-14f ? -14 : std::ilogb(size);
  const uint32_t steps = static_cast<uint32_t>(std::nearbyint(std::ldexp(size, 10 - exponent)));
  // steps of 1024 and more carry the leading one, which adds itself to the exponent's field.
  const uint32_t field = steps + (static_cast<uint32_t>(exponent + 14) << 10);
  return {static_cast<uint16_t>(sign | field)};
}
