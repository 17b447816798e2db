// Rows of 8-bit RGB pixels as vectors of levels, and back. Included only by sources that are compiled once per
// instruction set. Exactly the bytes of Vec::width pixels are touched, on both ways.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "simd.h"

namespace {

// One channel of Vec::width pixels each, in the order of the pixels' bytes.
struct Channels {
  Vec first, second, third;
};

constexpr int kPixelBytes = 3 * Vec::width;

#if defined(__AVX2__) || defined(__AVX512F__)

// A shuffle inside lanes of 16 bytes, four pixels each: one channel of each pixel to the lowest byte of each quarter.
// Pixel 0 of a lane starts at byte `start`, or `other_start` in odd lanes; the next one `step` bytes further.
template <int lanes>
constexpr std::array<uint8_t, 16 * lanes> spread_channel(int channel, int start, int other_start, int step) {
  std::array<uint8_t, 16 * lanes> control{};
  for (int lane = 0; lane < lanes; ++lane) {
    for (int pixel = 0; pixel < 4; ++pixel) {
      const int byte = (lane % 2 ? other_start : start) + pixel * step + channel;
      for (int i = 0; i < 4; ++i) control[16 * lane + 4 * pixel + i] = i == 0 ? byte : 0x80;  // 0x80: a zero
    }
  }
  return control;
}

// The shuffle of a lane from planes (four bytes of the first channel, of the second, of the third) to pixels.
// `place` says where in a pixel each channel goes.
inline __m128i planes_to_pixels(const std::array<int, 3> &place) {
  alignas(16) uint8_t control[16] = {};
  for (int i = 12; i < 16; ++i) control[i] = 0x80;
  for (int pixel = 0; pixel < 4; ++pixel) {
    for (int channel = 0; channel < 3; ++channel) control[3 * pixel + place[channel]] = 4 * channel + pixel;
  }
  return _mm_load_si128(reinterpret_cast<const __m128i *>(control));
}

#endif

#if defined(__AVX512F__)

// Pixels from `source` on; the mirrored ones lie to its left, the last one first.
template <bool mirrored>
inline Channels load_pixels(const uint8_t *source) {
  constexpr __mmask64 kBytes = (1ull << kPixelBytes) - 1;
  alignas(64) static constexpr auto first = spread_channel<4>(0, mirrored ? 9 : 0, mirrored ? 9 : 0, mirrored ? -3 : 3);
  alignas(64) static constexpr auto second = spread_channel<4>(1, mirrored ? 9 : 0, mirrored ? 9 : 0, mirrored ? -3 : 3);
  alignas(64) static constexpr auto third = spread_channel<4>(2, mirrored ? 9 : 0, mirrored ? 9 : 0, mirrored ? -3 : 3);
  const __m512i to_lanes = mirrored ? _mm512_setr_epi32(9, 10, 11, 11, 6, 7, 8, 8, 3, 4, 5, 5, 0, 1, 2, 2)
                                    : _mm512_setr_epi32(0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11);
  const __m512i packed = _mm512_maskz_loadu_epi8(kBytes, source - (mirrored ? kPixelBytes - 3 : 0));
  const __m512i lanes = _mm512_permutexvar_epi32(to_lanes, packed);
  const auto levels = [&](const auto &control) {
    return Vec{_mm512_cvtepi32_ps(_mm512_shuffle_epi8(lanes, _mm512_load_si512(control.data())))};
  };
  return {levels(first), levels(second), levels(third)};
}

struct PixelStore {
  __m512i order, kept_bits;

  // `wrap`: levels beyond 0..255 wrap around instead of being clipped.
  PixelStore(const std::array<int, 3> &place, bool wrap)
      : order(_mm512_broadcast_i32x4(planes_to_pixels(place))), kept_bits(_mm512_set1_epi16(wrap ? 255 : -1)) {}

  // Fractions are cut off.
  void operator()(const Channels &pixels, uint8_t *result) const {
    constexpr __mmask64 kBytes = (1ull << kPixelBytes) - 1;
    const __m512i close = _mm512_setr_epi32(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 15, 15, 15, 15);
    __m512i two = _mm512_packs_epi32(_mm512_cvttps_epi32(pixels.first.v), _mm512_cvttps_epi32(pixels.second.v));
    __m512i one = _mm512_packs_epi32(_mm512_cvttps_epi32(pixels.third.v), _mm512_setzero_si512());
    two = _mm512_and_si512(two, kept_bits);
    one = _mm512_and_si512(one, kept_bits);
    const __m512i lanes = _mm512_shuffle_epi8(_mm512_packus_epi16(two, one), order);
    _mm512_mask_storeu_epi8(result, kBytes, _mm512_permutexvar_epi32(close, lanes));
  }
};

#elif defined(__AVX2__)

template <bool mirrored>
inline Channels load_pixels(const uint8_t *source) {
  // Two loads of 16 bytes that overlap by 8 cover the 24 bytes.
  alignas(32) static constexpr auto first = spread_channel<2>(0, mirrored ? 13 : 0, mirrored ? 9 : 4, mirrored ? -3 : 3);
  alignas(32) static constexpr auto second = spread_channel<2>(1, mirrored ? 13 : 0, mirrored ? 9 : 4, mirrored ? -3 : 3);
  alignas(32) static constexpr auto third = spread_channel<2>(2, mirrored ? 13 : 0, mirrored ? 9 : 4, mirrored ? -3 : 3);
  const uint8_t *lowest = source - (mirrored ? kPixelBytes - 3 : 0);
  const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i *>(lowest));
  const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i *>(lowest + 8));
  const __m256i lanes = mirrored ? _mm256_set_m128i(low, high) : _mm256_set_m128i(high, low);
  const auto levels = [&](const auto &control) {
    const __m256i shuffle = _mm256_load_si256(reinterpret_cast<const __m256i *>(control.data()));
    return Vec{_mm256_cvtepi32_ps(_mm256_shuffle_epi8(lanes, shuffle))};
  };
  return {levels(first), levels(second), levels(third)};
}

struct PixelStore {
  __m256i order, kept_bits;

  PixelStore(const std::array<int, 3> &place, bool wrap)
      : order(_mm256_broadcastsi128_si256(planes_to_pixels(place))), kept_bits(_mm256_set1_epi16(wrap ? 255 : -1)) {}

  void operator()(const Channels &pixels, uint8_t *result) const {
    __m256i two = _mm256_packs_epi32(_mm256_cvttps_epi32(pixels.first.v), _mm256_cvttps_epi32(pixels.second.v));
    __m256i one = _mm256_packs_epi32(_mm256_cvttps_epi32(pixels.third.v), _mm256_setzero_si256());
    two = _mm256_and_si256(two, kept_bits);
    one = _mm256_and_si256(one, kept_bits);
    const __m256i lanes = _mm256_shuffle_epi8(_mm256_packus_epi16(two, one), order);
    const __m128i upper = _mm256_extracti128_si256(lanes, 1);
    const int32_t last = _mm_extract_epi32(upper, 2);
    _mm_storeu_si128(reinterpret_cast<__m128i *>(result), _mm256_castsi256_si128(lanes));
    _mm_storel_epi64(reinterpret_cast<__m128i *>(result + 12), upper);
    std::memcpy(result + 20, &last, sizeof(last));
  }
};

#else

template <bool mirrored>
inline Channels load_pixels(const uint8_t *source) {
  Channels pixels;
  for (int i = 0; i < Vec::width; ++i) {
    const uint8_t *pixel = source + (mirrored ? -3 : 3) * i;
    pixels.first.v[i] = pixel[0];
    pixels.second.v[i] = pixel[1];
    pixels.third.v[i] = pixel[2];
  }
  return pixels;
}

struct PixelStore {
  std::array<int, 3> place;
  bool wrap;

  PixelStore(const std::array<int, 3> &place, bool wrap) : place(place), wrap(wrap) {}

  uint8_t level(float value) const {
    const int32_t whole = static_cast<int32_t>(value);
    return static_cast<uint8_t>(wrap ? whole & 255 : std::min(std::max(whole, 0), 255));
  }

  void operator()(const Channels &pixels, uint8_t *result) const {
    for (int i = 0; i < Vec::width; ++i) {
      result[3 * i + place[0]] = level(pixels.first.v[i]);
      result[3 * i + place[1]] = level(pixels.second.v[i]);
      result[3 * i + place[2]] = level(pixels.third.v[i]);
    }
  }
};

#endif

// `count` pixels through `forth` and then `back`, Vec::width at a time. Two loops with the values between them in the
// first-level cache: a processor overlaps the steps of several pixels only as far as it looks ahead, and the chain of
// both is too long for that.
template <bool mirrored, typename Forth, typename Back>
inline void change_pixels(const uint8_t *source, int64_t count, const PixelStore &store, uint8_t *result, Forth forth,
                          Back back) {
  constexpr int kBlock = 256, kStep = mirrored ? -3 : 3;
  alignas(64) float between[3][kBlock];
  uint8_t edge[kPixelBytes] = {};  // for fewer pixels than a vector has
  for (int64_t start = 0; start < count; start += kBlock) {
    const int length = static_cast<int>(std::min<int64_t>(kBlock, count - start));
    const int whole = length - length % Vec::width;
    const auto forth_at = [&](int i, const Channels &pixels) {
      const Channels changed = forth(pixels);
      changed.first.store(between[0] + i);
      changed.second.store(between[1] + i);
      changed.third.store(between[2] + i);
    };
    const auto back_at = [&](int i, uint8_t *place) {
      store(back({Vec::load(between[0] + i), Vec::load(between[1] + i), Vec::load(between[2] + i)}), place);
    };
    const uint8_t *given = source + kStep * start;
    uint8_t *made = result + 3 * start;
    for (int i = 0; i < whole; i += Vec::width) forth_at(i, load_pixels<mirrored>(given + kStep * i));
    for (int i = 0; i < whole; i += Vec::width) back_at(i, made + 3 * i);
    if (whole < length) {
      for (int i = whole; i < length; ++i) std::memcpy(edge + 3 * (i - whole), given + kStep * i, 3);
      forth_at(whole, load_pixels<false>(edge));
      back_at(whole, edge);
      std::memcpy(made + 3 * whole, edge, 3 * (length - whole));
    }
  }
}

}  // namespace
