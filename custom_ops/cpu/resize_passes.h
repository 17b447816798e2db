// The two passes of resizing a picture of 8-bit RGB, by instruction set: along a row, and from several rows to one.
// All give the same bits: integer sums of pixel times weight, rounded to 8 bits.
#pragma once
#include <algorithm>
#include <cstring>

#include "resize_weights.h"

#if defined(MINDVIDEO_X86) && defined(__GNUC__)
#include <immintrin.h>
#endif

namespace mindvideo {

constexpr int kRows = 4;  // that are worked on together along a row

// `count` rows of a picture, `stride` bytes apart; their pixels from column `offset` on are there, `width` of them.
struct SourceRows {
    const uint8_t* pixels;
    int64_t stride;
    int count;  // 1 to kRows
    int offset;
    int width;

    const uint8_t* at(int row, int column) const {
        return pixels + row * stride + static_cast<std::ptrdiff_t>(column - offset) * 3;
    }
};

struct Passes {
    void (*split)(Weights& weights);  // prepares the weights for the two others
    void (*along_rows)(const SourceRows& source, const Weights& columns, uint8_t* result);  // packed rows
    // Result row `y` of `bytes` bytes; `source` is the first of the rows it is made from, packed.
    void (*from_rows)(const uint8_t* source, int bytes, const Weights& rows, int y, uint8_t* result);
};

inline uint8_t clipped(int32_t sum) {
    const int32_t value = sum >> kPrecision;
    return static_cast<uint8_t>(value < 0 ? 0 : (value > 255 ? 255 : value));
}

inline void no_split(Weights&) {}

inline void results_along_row(const SourceRows& source, int row, const Weights& columns, int begin, uint8_t* result) {
    const int results = static_cast<int>(columns.results());
    for (int x = begin; x < results; ++x) {
        const uint8_t* pixel = source.at(row, columns.first[x]);
        const int32_t* weight = columns.value.data() + static_cast<std::size_t>(x) * columns.taps;
        int32_t red = kHalf, green = kHalf, blue = kHalf;
        for (int k = 0; k < columns.count[x]; ++k) {
            red += pixel[3 * k] * weight[k];
            green += pixel[3 * k + 1] * weight[k];
            blue += pixel[3 * k + 2] * weight[k];
        }
        result[3 * x] = clipped(red);
        result[3 * x + 1] = clipped(green);
        result[3 * x + 2] = clipped(blue);
    }
}

inline void along_rows_plain(const SourceRows& source, const Weights& columns, uint8_t* result) {
    for (int row = 0; row < source.count; ++row) {
        results_along_row(source, row, columns, 0, result + row * 3 * columns.results());
    }
}

// Plain sums, which the compiler vectorises.
inline __attribute__((always_inline)) void sum_of_rows(
    const uint8_t* source, int bytes, const Weights& rows, int y, uint8_t* result) {
    constexpr int kBlock = 512;
    const int32_t* weight = rows.value.data() + static_cast<std::size_t>(y) * rows.taps;
    int32_t sums[kBlock];
    for (int start = 0; start < bytes; start += kBlock) {
        const int length = std::min(kBlock, bytes - start);
        for (int i = 0; i < length; ++i) sums[i] = kHalf;
        for (int k = 0; k < rows.count[y]; ++k) {
            const uint8_t* row = source + static_cast<std::ptrdiff_t>(k) * bytes + start;
            const int32_t w = weight[k];
            for (int i = 0; i < length; ++i) sums[i] += row[i] * w;
        }
        for (int i = 0; i < length; ++i) result[start + i] = clipped(sums[i]);
    }
}

inline void from_rows_plain(const uint8_t* source, int bytes, const Weights& rows, int y, uint8_t* result) {
    sum_of_rows(source, bytes, rows, y, result);
}

constexpr Passes kPlainPasses{no_split, along_rows_plain, from_rows_plain};

#if defined(MINDVIDEO_X86) && defined(__GNUC__)

// The vector passes read 16 bytes for four pixels, which have 12, and write whole registers: how many results may be
// made so without touching what lies beyond the row.
inline int roomy_results(const SourceRows& source, const Weights& columns) {
    int roomy = static_cast<int>(columns.results()) - 2;
    const int reach = 4 * columns.fours + 2;  // pixels, the bytes beyond the last included
    while (roomy > 0 && columns.first[roomy - 1] - source.offset + reach > source.width) --roomy;
    return std::max(roomy, 0);
}

// Four weights to both halves of a register: the first two in every pair of the lower one, the others in the upper.
__attribute__((target("avx2"))) inline __m256i spread_weights(const int16_t* four) {
    int64_t packed;
    std::memcpy(&packed, four, sizeof(packed));
    return _mm256_permutevar8x32_epi32(_mm256_set1_epi64x(packed), _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
}

// One result at a time, four of its source pixels at a time.
__attribute__((target("avx2"))) inline void along_row_avx2(
    const SourceRows& source, int row, const Weights& columns, uint8_t* result) {
    // Red, green and blue of the first two pixels side by side, then of the other two.
    const __m256i pairs = _mm256_setr_epi8(
        0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,  //
        6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
    const int roomy = roomy_results(source, columns);
    for (int x = 0; x < roomy; ++x) {
        const uint8_t* pixel = source.at(row, columns.first[x]);
        const std::size_t start = static_cast<std::size_t>(x) * columns.fours * 4;
        __m256i low = _mm256_setzero_si256(), high = _mm256_setzero_si256();
        for (int k = 0; k < columns.count[x]; k += 4) {
            const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(pixel + 3 * k));
            const __m256i values = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), pairs);
            low = _mm256_add_epi32(low, _mm256_madd_epi16(values, spread_weights(&columns.low[start + k])));
            high = _mm256_add_epi32(high, _mm256_madd_epi16(values, spread_weights(&columns.high[start + k])));
        }
        const __m256i sum = _mm256_add_epi32(low, _mm256_slli_epi32(high, kLowBits));
        __m128i total = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
        total = _mm_srai_epi32(_mm_add_epi32(total, _mm_set1_epi32(kHalf)), kPrecision);
        total = _mm_packus_epi16(_mm_packs_epi32(total, total), total);
        const int32_t packed = _mm_cvtsi128_si32(total);
        std::memcpy(result + 3 * x, &packed, sizeof(packed));
    }
    results_along_row(source, row, columns, roomy, result);
}

__attribute__((target("avx2"))) inline void along_rows_avx2(
    const SourceRows& source, const Weights& columns, uint8_t* result) {
    for (int row = 0; row < source.count; ++row) {
        along_row_avx2(source, row, columns, result + row * 3 * columns.results());
    }
}

__attribute__((target("avx2"))) inline void from_rows_avx2(
    const uint8_t* source, int bytes, const Weights& rows, int y, uint8_t* result) {
    sum_of_rows(source, bytes, rows, y, result);
}

constexpr Passes kAvx2Passes{split_into_halves, along_rows_avx2, from_rows_avx2};

#define MINDVIDEO_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))

// Sums of pixel times weight, one for each digit of the weights, to the whole levels they stand for.
MINDVIDEO_VNNI inline __m512i levels_of(const __m512i (&sums)[kDigits]) {
    const __m512i upper = _mm512_add_epi32(_mm512_slli_epi32(sums[1], 8), _mm512_slli_epi32(sums[2], 16));
    return _mm512_srai_epi32(_mm512_add_epi32(sums[0], upper), kPrecision);
}

// Four results of four rows at a time: a row in each quarter of a register.
MINDVIDEO_VNNI inline void along_rows_vnni(const SourceRows& source, const Weights& columns, uint8_t* result) {
    // The red of four pixels side by side, then their green and their blue.
    const __m512i by_channel =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1));
    const __m512i close =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));
    const std::size_t bytes = 3 * columns.results();
    const int* const first = columns.first.data();
    const int fours = columns.fours;
    const std::size_t group = 4 * columns.results();  // digits of one four of all results
    // Read once: the compiler must think that the bytes written below could change where the digits are.
    const int8_t* digits[kDigits];
    for (int d = 0; d < kDigits; ++d) digits[d] = columns.digits_of(d, 0, 0);
    const uint8_t* row[kRows];  // the last one stands in for those beyond it
    for (int r = 0; r < kRows; ++r) row[r] = source.at(std::min(r, source.count - 1), source.offset);
    // Red, green and blue of one result of each row, and a fourth number of no meaning.
    const auto results_at = [&](int x) MINDVIDEO_VNNI {
        __m512i sums[kDigits] = {_mm512_set1_epi32(kHalf), _mm512_setzero_si512(), _mm512_setzero_si512()};
        for (int four = 0; four < fours; ++four) {
            const std::ptrdiff_t byte = 3 * static_cast<std::ptrdiff_t>(first[x] - source.offset) + 12 * four;
            const auto pixels_of = [&](int r) MINDVIDEO_VNNI {
                return _mm_loadu_si128(reinterpret_cast<const __m128i*>(row[r] + byte));
            };
            __m512i pixels = _mm512_castsi128_si512(pixels_of(0));
            pixels = _mm512_inserti32x4(pixels, pixels_of(1), 1);
            pixels = _mm512_inserti32x4(pixels, pixels_of(2), 2);
            pixels = _mm512_inserti32x4(pixels, pixels_of(3), 3);
            const __m512i values = _mm512_shuffle_epi8(pixels, by_channel);
            for (int d = 0; d < kDigits; ++d) {
                int32_t four_digits;
                std::memcpy(&four_digits, digits[d] + four * group + 4 * x, sizeof(four_digits));
                sums[d] = _mm512_dpbusd_epi32(sums[d], values, _mm512_set1_epi32(four_digits));
            }
        }
        return levels_of(sums);
    };
    const int roomy = roomy_results(source, columns);
    int x = 0;
    for (; x + 4 <= roomy; x += 4) {
        const __m512i lower = _mm512_packs_epi32(results_at(x), results_at(x + 1));
        const __m512i upper = _mm512_packs_epi32(results_at(x + 2), results_at(x + 3));
        const __m512i made = _mm512_shuffle_epi8(_mm512_packus_epi16(lower, upper), close);
        const auto store = [&](int r, __m128i four) MINDVIDEO_VNNI {  // and four bytes beyond, which are made next
            if (r < source.count) _mm_storeu_si128(reinterpret_cast<__m128i*>(result + r * bytes + 3 * x), four);
        };
        store(0, _mm512_castsi512_si128(made));
        store(1, _mm512_extracti32x4_epi32(made, 1));
        store(2, _mm512_extracti32x4_epi32(made, 2));
        store(3, _mm512_extracti32x4_epi32(made, 3));
    }
    for (int r = 0; r < source.count; ++r) results_along_row(source, r, columns, x, result + r * bytes);
}

// 64 bytes of the result at a time, four source rows at a time.
MINDVIDEO_VNNI inline void from_rows_vnni(const uint8_t* source, int bytes, const Weights& rows, int y, uint8_t* result) {
    for (int start = 0; start < bytes; start += 64) {
        const int length = std::min(64, bytes - start);
        const __mmask64 there = ~0ULL >> (64 - length);
        __m512i sums[4][kDigits];
        for (auto& part : sums) {
            part[0] = _mm512_set1_epi32(kHalf);
            part[1] = part[2] = _mm512_setzero_si512();
        }
        for (int k = 0; k < rows.count[y]; k += 4) {
            __m512i row[4];
            for (int i = 0; i < 4; ++i) {
                const int index = std::min(k + i, rows.count[y] - 1);  // what is beyond the last has weight zero
                row[i] = _mm512_maskz_loadu_epi8(there, source + static_cast<std::ptrdiff_t>(index) * bytes + start);
            }
            const __m512i low_01 = _mm512_unpacklo_epi8(row[0], row[1]), high_01 = _mm512_unpackhi_epi8(row[0], row[1]);
            const __m512i low_23 = _mm512_unpacklo_epi8(row[2], row[3]), high_23 = _mm512_unpackhi_epi8(row[2], row[3]);
            const __m512i values[4] = {
                _mm512_unpacklo_epi16(low_01, low_23), _mm512_unpackhi_epi16(low_01, low_23),
                _mm512_unpacklo_epi16(high_01, high_23), _mm512_unpackhi_epi16(high_01, high_23)};
            for (int d = 0; d < kDigits; ++d) {
                int32_t four_digits;
                std::memcpy(&four_digits, rows.digits_of(d, y, k / 4), sizeof(four_digits));
                const __m512i weights = _mm512_set1_epi32(four_digits);
                for (int part = 0; part < 4; ++part) {
                    sums[part][d] = _mm512_dpbusd_epi32(sums[part][d], values[part], weights);
                }
            }
        }
        // Packing undoes the order of unpacking.
        const __m512i lower = _mm512_packs_epi32(levels_of(sums[0]), levels_of(sums[1]));
        const __m512i upper = _mm512_packs_epi32(levels_of(sums[2]), levels_of(sums[3]));
        _mm512_mask_storeu_epi8(result + start, there, _mm512_packus_epi16(lower, upper));
    }
}

constexpr Passes kVnniPasses{split_into_digits, along_rows_vnni, from_rows_vnni};

#endif

}  // namespace mindvideo
