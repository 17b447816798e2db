// Colour distortion of 8-bit pictures: brightness, contrast, saturation, hue and channel order in one pass.
//
// Plain C interface for ctypes: it knows nothing of tensors or MindSpore. The steps and the order of the float
// operations are those of the NumPy twin, whose hue conversion is OpenCV's (with fused multiply-add where the processor
// has it), so that the cut to whole levels at the end falls the same way.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>

#include "instruction_set.h"

#if defined(MINDVIDEO_X86) && defined(__GNUC__)
#include <immintrin.h>
#endif

namespace {

constexpr int kBlock = 256;  // pixels that stay in the first-level cache

struct Colours {
    float brightness;       // added
    float contrast_before;  // factor before the change of hue and saturation
    float saturation;       // factor
    float hue;              // degrees
    float contrast_after;   // factor after it
    bool wrap;
    int place[3];  // of each channel in a pixel of the result, in bits
};

#define MINDVIDEO_INLINE inline __attribute__((always_inline))

// Both are computed: a choice, not a branch, so that the loop below becomes vector instructions.
MINDVIDEO_INLINE float pick(bool condition, float yes, float no) { return condition ? yes : no; }

template <bool wrap>
MINDVIDEO_INLINE uint32_t level(float value) {
    const int32_t whole = static_cast<int32_t>(value);  // cuts off the fraction
    return wrap ? whole & 255 : (whole < 0 ? 0 : (whole > 255 ? 255 : whole));
}

MINDVIDEO_INLINE float channel(uint32_t pixel, int place) { return static_cast<int32_t>(pixel >> place & 255); }

// Pixels of three bytes to the distorted ones, in place. The first channel is taken for blue, the last for red.
template <bool wrap>
MINDVIDEO_INLINE void distort_pixels(uint32_t* pixels, int count, const Colours& colours) {
    const float upper = colours.hue > 0 ? 360.0f : FLT_MAX;  // a turn leaves 0..360 on one side alone
    const float lower = colours.hue > 0 ? -FLT_MAX : 0.0f;
    for (int i = 0; i < count; ++i) {
        const float blue = (channel(pixels[i], 0) + colours.brightness) * colours.contrast_before;
        const float green = (channel(pixels[i], 8) + colours.brightness) * colours.contrast_before;
        const float red = (channel(pixels[i], 16) + colours.brightness) * colours.contrast_before;

        const float least_two = pick(green < blue, green, blue), most_two = pick(green > blue, green, blue);
        const float least = pick(red < least_two, red, least_two), value = pick(red > most_two, red, most_two);
        const float spread = value - least;
        const float saturation = spread / (std::fabs(value) + FLT_EPSILON) * colours.saturation;
        const float per_spread = 60.0f / (spread + FLT_EPSILON);
        const bool red_leads = red == value, green_leads = green == value;
        const float difference = pick(red_leads, green - blue, pick(green_leads, blue - red, red - green));
        const float turned_back = pick(green < blue, 360.0f, 0.0f);
        const float origin = pick(red_leads, turned_back, pick(green_leads, 120.0f, 240.0f));
        float hue = difference * per_spread + origin;
        hue += colours.hue;
        hue = pick(hue > upper, hue - 360.0f, hue);
        hue = pick(hue < lower, hue + 360.0f, hue);

        const float position = hue * (6.0f / 360.0f);
        const float whole = static_cast<float>(static_cast<int32_t>(position));
        const float part = position - whole;
        const float sector = pick(whole > 5.0f, whole - 6.0f, whole);  // 360 degrees are 0
        const float low = value * (1.0f - saturation);
        const float falling = value * (1.0f - saturation * part);
        const float rising = value * (1.0f - saturation * (1.0f - part));
        const bool in_0 = sector < 1.0f, to_1 = sector < 2.0f, to_2 = sector < 3.0f, to_3 = sector < 4.0f;
        const bool to_4 = sector < 5.0f;
        const float new_blue = pick(to_1, low, pick(to_2, rising, pick(to_4, value, falling)));
        const float new_green = pick(in_0, rising, pick(to_2, value, pick(to_3, falling, low)));
        const float new_red = pick(in_0, value, pick(to_1, falling, pick(to_3, low, pick(to_4, rising, value))));
        pixels[i] = level<wrap>(new_blue * colours.contrast_after) << colours.place[0] |
                    level<wrap>(new_green * colours.contrast_after) << colours.place[1] |
                    level<wrap>(new_red * colours.contrast_after) << colours.place[2];
    }
}

#if defined(MINDVIDEO_X86) && defined(__GNUC__)
// Four pixels at a time between 3 bytes each and 4 bytes each. 16 bytes are touched of the 12, so the caller sees to it
// that `count` ends two pixels before the row does. They return how many pixels were done.
__attribute__((target("ssse3"))) int unpack_fours(const uint8_t* source, int count, uint32_t* pixels) {
    const __m128i spread = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
    int i = 0;
    for (; i + 4 <= count; i += 4) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + 3 * i));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(pixels + i), _mm_shuffle_epi8(bytes, spread));
    }
    return i;
}

// The same for pixels that lie from right to left; `source` is the first one, and `count` ends two pixels before the
// row's left end.
__attribute__((target("ssse3"))) int unpack_mirrored_fours(const uint8_t* source, int count, uint32_t* pixels) {
    const __m128i spread = _mm_setr_epi8(13, 14, 15, -1, 10, 11, 12, -1, 7, 8, 9, -1, 4, 5, 6, -1);
    int i = 0;
    for (; i + 4 <= count; i += 4) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source - 3 * i - 13));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(pixels + i), _mm_shuffle_epi8(bytes, spread));
    }
    return i;
}

__attribute__((target("ssse3"))) int pack_fours(const uint32_t* pixels, int count, uint8_t* result) {
    const __m128i close = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    int i = 0;
    for (; i + 4 <= count; i += 4) {
        const __m128i four = _mm_loadu_si128(reinterpret_cast<const __m128i*>(pixels + i));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(result + 3 * i), _mm_shuffle_epi8(four, close));
    }
    return i;
}
#endif

// `step`: bytes from one pixel to the next, 3 or -3.
void unpack(const uint8_t* source, int step, int count, int roomy, uint32_t* pixels) {
    int i = 0;
#if defined(MINDVIDEO_X86) && defined(__GNUC__)
    static const bool has_shuffle = __builtin_cpu_supports("ssse3");
    if (has_shuffle) i = step > 0 ? unpack_fours(source, roomy, pixels) : unpack_mirrored_fours(source, roomy, pixels);
#endif
    for (; i < count; ++i) {
        const uint8_t* pixel = source + static_cast<int64_t>(step) * i;
        pixels[i] = pixel[0] | static_cast<uint32_t>(pixel[1]) << 8 | static_cast<uint32_t>(pixel[2]) << 16;
    }
}

void pack(const uint32_t* pixels, int count, int roomy, uint8_t* result) {
    int i = 0;
#if defined(MINDVIDEO_X86) && defined(__GNUC__)
    static const bool has_shuffle = __builtin_cpu_supports("ssse3");
    if (has_shuffle) i = pack_fours(pixels, roomy, result);
#endif
    for (; i < count; ++i) {
        for (int byte = 0; byte < 3; ++byte) result[3 * i + byte] = static_cast<uint8_t>(pixels[i] >> (8 * byte));
    }
}

MINDVIDEO_INLINE void distort_block(uint32_t* pixels, int count, const Colours& colours) {
    if (colours.wrap) {
        distort_pixels<true>(pixels, count, colours);
    } else {
        distort_pixels<false>(pixels, count, colours);
    }
}

void distort_plain(uint32_t* pixels, int count, const Colours& colours) { distort_block(pixels, count, colours); }

#if defined(MINDVIDEO_X86) && defined(__GNUC__)
__attribute__((target("avx2,fma"))) void distort_avx2(uint32_t* pixels, int count, const Colours& colours) {
    distort_block(pixels, count, colours);
}

__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma"))) void distort_avx512(
    uint32_t* pixels, int count, const Colours& colours) {
    distort_block(pixels, count, colours);
}
#endif

using DistortBlock = void (*)(uint32_t*, int, const Colours&);

DistortBlock fastest() {
#if defined(MINDVIDEO_X86) && defined(__GNUC__)
    const mindvideo::InstructionSet best = mindvideo::best_instruction_set();
    if (best == mindvideo::InstructionSet::avx512) return distort_avx512;
    if (best == mindvideo::InstructionSet::avx2) return distort_avx2;
#endif
    return distort_plain;
}

}  // namespace

// A [height, width, 3] picture whose rows start `stride` bytes apart and pixels `step` (3, or -3 for a mirrored one)
// into `result`, which is packed. Neutral values (0 for brightness and hue, 1 for the factors) leave a step out. `wrap`:
// values beyond 0..255 wrap around instead of being clipped. `first`, `second`, `third`: which distorted channel each channel of the result is.
extern "C" __attribute__((visibility("default"))) void mindvideo_distort_colours(
    const uint8_t* picture, int64_t stride, int step, int height, int width, float brightness, float contrast_before,
    float saturation, float hue, float contrast_after, int wrap, int first, int second, int third, uint8_t* result) {
    static const DistortBlock distort = fastest();
    Colours colours{brightness, contrast_before, saturation, hue, contrast_after, wrap != 0, {0, 0, 0}};
    colours.place[first] = 0;
    colours.place[second] = 8;
    colours.place[third] = 16;
    uint32_t pixels[kBlock];
    for (int y = 0; y < height; ++y) {
        for (int start = 0; start < width; start += kBlock) {
            const uint8_t* source = picture + y * stride + static_cast<int64_t>(start) * step;
            uint8_t* target = result + (static_cast<int64_t>(y) * width + start) * 3;
            const int count = std::min(kBlock, width - start);
            const int roomy = std::min(count, width - start - 2);
            unpack(source, step, count, roomy, pixels);
            distort(pixels, count, colours);
            pack(pixels, count, roomy, target);
        }
    }
}
