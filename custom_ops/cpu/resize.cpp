// Antialiased bilinear resizing of 8-bit RGB pictures, pixel for pixel as Pillow does it, but of a part alone.
//
// Plain C interface for ctypes: it knows nothing of tensors or MindSpore. Two passes (columns, then rows) with integer
// weights of 22 bits and a rounding to 8 bits between them, which is what makes Pillow's results its own.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(MINDVIDEO_X86) && defined(__GNUC__)
#include <immintrin.h>
#define MINDVIDEO_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define MINDVIDEO_CLONES
#endif

namespace {

constexpr int kPrecision = 32 - 8 - 2;
constexpr int kHalf = 1 << (kPrecision - 1);
constexpr int kLowBits = 11;

// Weights of the results `begin` to `end` along one side that goes from `length` to `new_length` pixels.
struct Weights {
    int taps = 0;                // most sources of one result
    std::vector<int> first;      // first source of each result
    std::vector<int> count;      // sources of each result
    std::vector<int32_t> value;  // [results, taps]
    int fours = 0;               // groups of four sources that hold the taps
    std::vector<int16_t> low;    // [results, fours, 4]: the lower 11 bits of each weight
    std::vector<int16_t> high;   // and the others
};

double triangle(double x) {
    x = std::fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

Weights weights_of(int length, int new_length, int begin, int end) {
    const double scale = static_cast<double>(length) / new_length;
    const double filter_scale = std::max(scale, 1.0);
    const double support = filter_scale;
    Weights made;
    made.taps = static_cast<int>(std::ceil(support)) * 2 + 1;
    const int results = end - begin;
    made.first.resize(results);
    made.count.resize(results);
    made.value.assign(static_cast<std::size_t>(results) * made.taps, 0);
    std::vector<double> exact(made.taps);
    const double inverse = 1.0 / filter_scale;
    for (int i = 0; i < results; ++i) {
        const double centre = (begin + i + 0.5) * scale;
        const int low = std::max(0, static_cast<int>(centre - support + 0.5));
        const int high = std::min(length, static_cast<int>(centre + support + 0.5));
        const int count = high - low;
        double sum = 0.0;
        for (int k = 0; k < count; ++k) {
            exact[k] = triangle((k + low - centre + 0.5) * inverse);
            sum += exact[k];
        }
        for (int k = 0; k < count; ++k) {
            const double share = sum != 0.0 ? exact[k] / sum : exact[k];
            made.value[static_cast<std::size_t>(i) * made.taps + k] =
                static_cast<int32_t>(share < 0 ? -0.5 + share * (1 << kPrecision) : 0.5 + share * (1 << kPrecision));
        }
        made.first[i] = low;
        made.count[i] = count;
    }
    return made;
}

// Weights have up to 23 bits, and the quick multiplication takes 16.
void split_weights(Weights& weights) {
    const std::size_t results = weights.first.size();
    weights.fours = (weights.taps + 3) / 4;
    weights.low.assign(results * weights.fours * 4, 0);
    weights.high.assign(results * weights.fours * 4, 0);
    for (std::size_t i = 0; i < results; ++i) {
        for (int k = 0; k < weights.count[i]; ++k) {
            const int32_t weight = weights.value[i * weights.taps + k];
            weights.low[i * weights.fours * 4 + k] = static_cast<int16_t>(weight & ((1 << kLowBits) - 1));
            weights.high[i * weights.fours * 4 + k] = static_cast<int16_t>(weight >> kLowBits);
        }
    }
}

inline uint8_t clipped(int32_t sum) {
    const int32_t value = sum >> kPrecision;
    return static_cast<uint8_t>(value < 0 ? 0 : (value > 255 ? 255 : value));
}

// One row of RGB: result x is the weighted sum of source pixels; `source` starts at pixel `offset` of the picture.
void resize_row_plain(const uint8_t* source, int offset, const Weights& weights, int begin, uint8_t* result) {
    const int results = static_cast<int>(weights.first.size());
    for (int x = begin; x < results; ++x) {
        const uint8_t* pixel = source + static_cast<std::ptrdiff_t>(weights.first[x] - offset) * 3;
        const int32_t* weight = weights.value.data() + static_cast<std::size_t>(x) * weights.taps;
        int32_t red = kHalf, green = kHalf, blue = kHalf;
        for (int k = 0; k < weights.count[x]; ++k) {
            red += pixel[3 * k] * weight[k];
            green += pixel[3 * k + 1] * weight[k];
            blue += pixel[3 * k + 2] * weight[k];
        }
        result[3 * x] = clipped(red);
        result[3 * x + 1] = clipped(green);
        result[3 * x + 2] = clipped(blue);
    }
}

#if defined(MINDVIDEO_X86) && defined(__GNUC__)
// Four weights to both halves of a register: the first two in every pair of the lower one, the others in the upper.
__attribute__((target("avx2"))) inline __m256i spread_weights(const int16_t* four) {
    int64_t packed;
    std::memcpy(&packed, four, sizeof(packed));
    return _mm256_permutevar8x32_epi32(_mm256_set1_epi64x(packed), _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
}

// The results before `end`, four source pixels at a time. Reads 16 bytes of their 12 and writes 4 of 3, so the caller
// leaves the last results of a row, whose bytes may lie beyond it, to the plain loop. Weights beyond a result's count
// are zero.
__attribute__((target("avx2"))) void resize_row_avx2(
    const uint8_t* source, int offset, const Weights& weights, int end, uint8_t* result) {
    // Red, green and blue of the first two pixels side by side, then of the other two.
    const __m256i pairs = _mm256_setr_epi8(
        0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,  //
        6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
    for (int x = 0; x < end; ++x) {
        const uint8_t* pixel = source + static_cast<std::ptrdiff_t>(weights.first[x] - offset) * 3;
        const std::size_t start = static_cast<std::size_t>(x) * weights.fours * 4;
        const int count = weights.count[x];
        __m256i low = _mm256_setzero_si256(), high = _mm256_setzero_si256();
        for (int k = 0; k < count; k += 4) {
            const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(pixel + 3 * k));
            const __m256i values = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), pairs);
            low = _mm256_add_epi32(low, _mm256_madd_epi16(values, spread_weights(&weights.low[start + k])));
            high = _mm256_add_epi32(high, _mm256_madd_epi16(values, spread_weights(&weights.high[start + k])));
        }
        const __m256i sum = _mm256_add_epi32(low, _mm256_slli_epi32(high, kLowBits));
        __m128i total = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
        total = _mm_srai_epi32(_mm_add_epi32(total, _mm_set1_epi32(kHalf)), kPrecision);
        total = _mm_packus_epi16(_mm_packs_epi32(total, total), total);
        const int32_t packed = _mm_cvtsi128_si32(total);
        std::memcpy(result + 3 * x, &packed, sizeof(packed));
    }
}
#endif

// `careful`: the first result that must not read or write beyond its own bytes.
void resize_row(const uint8_t* source, int offset, const Weights& weights, int careful, uint8_t* result) {
    int begin = 0;
#if defined(MINDVIDEO_X86) && defined(__GNUC__)
    static const bool has_avx2 = __builtin_cpu_supports("avx2");
    if (has_avx2) {
        resize_row_avx2(source, offset, weights, careful, result);
        begin = careful;
    }
#endif
    resize_row_plain(source, offset, weights, begin, result);
}

// One row of the result from several rows of the source, all `bytes` long: plain sums, which the compiler vectorises.
MINDVIDEO_CLONES
void sum_rows(const uint8_t* source, int bytes, const int32_t* weight, int count, uint8_t* result) {
    constexpr int kBlock = 512;
    int32_t sums[kBlock];
    for (int start = 0; start < bytes; start += kBlock) {
        const int length = std::min(kBlock, bytes - start);
        for (int i = 0; i < length; ++i) sums[i] = kHalf;
        for (int k = 0; k < count; ++k) {
            const uint8_t* row = source + static_cast<std::ptrdiff_t>(k) * bytes + start;
            const int32_t w = weight[k];
            for (int i = 0; i < length; ++i) sums[i] += row[i] * w;
        }
        for (int i = 0; i < length; ++i) {
            const int32_t value = sums[i] >> kPrecision;
            result[start + i] = static_cast<uint8_t>(value < 0 ? 0 : (value > 255 ? 255 : value));
        }
    }
}

}  // namespace

// Rows top..bottom and columns left..right of the [height, width] picture resized to [new_height, new_width].
// `part` holds its rows from `part_top` and columns from `part_left`, of `part_height` rows whose starts lie `stride`
// bytes apart; `result` is packed. Returns 0, or 1 when the part lacks pixels that are needed.
extern "C" __attribute__((visibility("default"))) int mindvideo_resize_rgb(
    const uint8_t* part, int64_t stride, int part_top, int part_left, int part_height, int part_width, int height,
    int width, int new_height, int new_width, int top, int bottom, int left, int right, uint8_t* result) {
    Weights columns = weights_of(width, new_width, left, right);
    split_weights(columns);
    const Weights rows = weights_of(height, new_height, top, bottom);
    const int results = bottom - top;
    const int first_row = rows.first[0];
    const int end_row = rows.first[results - 1] + rows.count[results - 1];
    if (first_row < part_top || end_row > part_top + part_height || columns.first.front() < part_left ||
        columns.first.back() + columns.count.back() > part_left + part_width) {
        return 1;
    }
    const int bytes = (right - left) * 3;
    // Pixels are read 16 bytes at a time, from each fourth on: five may be touched beyond a result's own.
    int careful = right - left - 1;
    while (careful > 0 && columns.first[careful - 1] + columns.count[careful - 1] + 5 > part_left + part_width) --careful;
    static thread_local std::vector<uint8_t> between;  // kept: fresh pages cost as much as the work
    between.resize(static_cast<std::size_t>(end_row - first_row) * bytes);
    for (int y = first_row; y < end_row; ++y) {
        const uint8_t* source = part + static_cast<int64_t>(y - part_top) * stride;
        uint8_t* target = between.data() + static_cast<std::size_t>(y - first_row) * bytes;
        if (width == new_width) {
            std::memcpy(target, source + static_cast<std::ptrdiff_t>(left - part_left) * 3, bytes);
        } else {
            resize_row(source, part_left, columns, careful, target);
        }
    }
    for (int y = 0; y < results; ++y) {
        const uint8_t* source = between.data() + static_cast<std::size_t>(rows.first[y] - first_row) * bytes;
        uint8_t* target = result + static_cast<std::size_t>(y) * bytes;
        if (height == new_height) {
            std::memcpy(target, source, bytes);
        } else {
            sum_rows(source, bytes, rows.value.data() + static_cast<std::size_t>(y) * rows.taps, rows.count[y], target);
        }
    }
    return 0;
}
