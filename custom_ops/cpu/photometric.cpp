// Colour distortion of 8-bit pictures: brightness, contrast, saturation, hue and channel order in one pass.
//
// Plain C interface for ctypes: it knows nothing of tensors or MindSpore. The steps and the order of the float
// operations are those of the NumPy twin, whose hue conversion is OpenCV's (with fused multiply-add where the processor
// has it), so that the cut to whole levels at the end falls the same way.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace {

constexpr int kBlock = 256;  // pixels whose planes stay in the first-level cache

struct Colours {
    float brightness;       // added
    float contrast_before;  // factor before the change of hue and saturation
    float saturation;       // factor
    float hue;              // degrees
    float contrast_after;   // factor after it
};

struct Planes {
    float first[kBlock], second[kBlock], third[kBlock];
};

// Both are computed: a choice, not a branch, so that the loop below becomes vector instructions.
inline __attribute__((always_inline)) float pick(bool condition, float yes, float no) { return condition ? yes : no; }

// Values 0..255 of three channels to the distorted ones, in place. The first is taken for blue, the last for red.
inline __attribute__((always_inline)) void distort_planes(Planes& planes, int count, const Colours& colours) {
    const float upper = colours.hue > 0 ? 360.0f : FLT_MAX;  // a turn leaves 0..360 on one side alone
    const float lower = colours.hue > 0 ? -FLT_MAX : 0.0f;
    for (int i = 0; i < count; ++i) {
        const float blue = (planes.first[i] + colours.brightness) * colours.contrast_before;
        const float green = (planes.second[i] + colours.brightness) * colours.contrast_before;
        const float red = (planes.third[i] + colours.brightness) * colours.contrast_before;

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
        planes.first[i] = new_blue * colours.contrast_after;
        planes.second[i] = new_green * colours.contrast_after;
        planes.third[i] = new_red * colours.contrast_after;
    }
}

template <bool wrap>
inline __attribute__((always_inline)) void store_channel(const float* values, int count, uint8_t* result) {
    for (int i = 0; i < count; ++i) {
        const int32_t level = static_cast<int32_t>(values[i]);  // cuts off the fraction
        result[3 * i] = static_cast<uint8_t>(wrap ? level : std::min(std::max(level, 0), 255));
    }
}

// One row; `order` says which channel each channel of the result is.
template <bool wrap>
inline __attribute__((always_inline)) void distort_row(
    const uint8_t* source, int width, const Colours& colours, const int* order, uint8_t* result) {
    Planes planes;
    const float* channels[3] = {planes.first, planes.second, planes.third};
    for (int start = 0; start < width; start += kBlock) {
        const int count = std::min(kBlock, width - start);
        const uint8_t* pixel = source + static_cast<std::ptrdiff_t>(start) * 3;
        for (int i = 0; i < count; ++i) {
            planes.first[i] = pixel[3 * i];
            planes.second[i] = pixel[3 * i + 1];
            planes.third[i] = pixel[3 * i + 2];
        }
        distort_planes(planes, count, colours);
        for (int channel = 0; channel < 3; ++channel) {
            store_channel<wrap>(channels[order[channel]], count, result + static_cast<std::ptrdiff_t>(start) * 3 + channel);
        }
    }
}

inline __attribute__((always_inline)) void distort_rows(
    const uint8_t* picture, int64_t stride, int height, int width, const Colours& colours, bool wrap, const int* order,
    uint8_t* result) {
    for (int y = 0; y < height; ++y) {
        const uint8_t* source = picture + y * stride;
        uint8_t* target = result + static_cast<std::ptrdiff_t>(y) * width * 3;
        if (wrap) {
            distort_row<true>(source, width, colours, order, target);
        } else {
            distort_row<false>(source, width, colours, order, target);
        }
    }
}

using DistortRows = void (*)(
    const uint8_t*, int64_t, int, int, const Colours&, bool, const int*, uint8_t*);

void distort_rows_plain(
    const uint8_t* picture, int64_t stride, int height, int width, const Colours& colours, bool wrap, const int* order,
    uint8_t* result) {
    distort_rows(picture, stride, height, width, colours, wrap, order, result);
}

#if defined(MINDVIDEO_X86) && defined(__GNUC__)
__attribute__((target("avx2,fma"))) void distort_rows_avx2(
    const uint8_t* picture, int64_t stride, int height, int width, const Colours& colours, bool wrap, const int* order,
    uint8_t* result) {
    distort_rows(picture, stride, height, width, colours, wrap, order, result);
}
#endif

DistortRows fastest_rows() {
#if defined(MINDVIDEO_X86) && defined(__GNUC__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return distort_rows_avx2;
#endif
    return distort_rows_plain;
}

}  // namespace

// A [height, width, 3] picture whose rows start `stride` bytes apart into `result`, which is packed. Neutral values (0
// for brightness and hue, 1 for the factors, 0 1 2 for the order) leave a step out. `wrap`: values beyond 0..255 wrap
// around instead of being clipped.
extern "C" __attribute__((visibility("default"))) void mindvideo_distort_colours(
    const uint8_t* picture, int64_t stride, int height, int width, float brightness, float contrast_before,
    float saturation, float hue, float contrast_after, int wrap, int first, int second, int third, uint8_t* result) {
    static const DistortRows distort = fastest_rows();
    const Colours colours{brightness, contrast_before, saturation, hue, contrast_after};
    const int order[3] = {first, second, third};
    distort(picture, stride, height, width, colours, wrap != 0, order, result);
}
