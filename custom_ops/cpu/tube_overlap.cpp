// Areas and intersections of run-length encoded masks, frame by frame, for every pair of a detection and a truth.
//
// Plain C interface for ctypes: it knows nothing of tensors or MindSpore. Memory is that of the masks of one frame.
#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

// Foreground of one mask as half-open intervals of column-major pixel positions: begin, end, begin, end, ...
struct Intervals {
    std::vector<int64_t> ends;  // only the first `count` are of this mask
    std::size_t count = 0;
    int64_t area = 0;
};

// The compressed form of COCO: 6-bit characters from '0', 5 bits of value each, least significant first, 0x20 for
// "more", sign extended; from the fourth run on the value is the difference to the run two places before.
bool decode(const char* text, const char* stop, int64_t pixels, Intervals& mask) {
    const std::size_t most = static_cast<std::size_t>(stop - text) + 2;  // a run has at least one character
    if (mask.ends.size() < most) mask.ends.resize(2 * most);
    int64_t* next = mask.ends.data();
    int64_t position = 0, area = 0;
    int64_t before[2] = {0, 0};  // the last run of the background and of the foreground
    for (int number = 0; text < stop; ++number) {
        int bits = *text++ - '0';
        if (bits < 0 || bits > 63) return false;
        int64_t value = (bits & 0x0f) - (bits & 0x10);  // all there is of most runs
        if (bits & 0x20) {
            value = bits & 0x1f;
            int shift = 5;
            do {
                if (text == stop || shift > 55) return false;
                bits = *text++ - '0';
                if (bits < 0 || bits > 63) return false;
                value |= static_cast<int64_t>(bits & 0x1f) << shift;
                shift += 5;
            } while (bits & 0x20);
            if (bits & 0x10) value -= static_cast<int64_t>(1) << shift;
        }
        const int foreground = number & 1;
        if (number > 2) value += before[foreground];
        if (value < 0 || value > pixels - position) return false;
        before[foreground] = value;
        if (foreground && value > 0) {
            *next++ = position;
            *next++ = position + value;
            area += value;
        }
        position += value;
    }
    mask.count = static_cast<std::size_t>(next - mask.ends.data());
    mask.area = area;
    return position == pixels;
}

int64_t intersection(const Intervals& one, const Intervals& other) {
    const int64_t *a = one.ends.data(), *b = other.ends.data();
    const int64_t *a_stop = a + one.count, *b_stop = b + other.count;
    if (a == a_stop || b == b_stop || a_stop[-1] <= b[0] || b_stop[-1] <= a[0]) return 0;
    int64_t common = 0;
    while (a < a_stop && b < b_stop) {
        const int64_t begin = a[0] > b[0] ? a[0] : b[0];
        const int64_t end = a[1] < b[1] ? a[1] : b[1];
        common += end > begin ? end - begin : 0;
        const bool a_ends_first = a[1] < b[1];
        a += a_ends_first ? 2 : 0;
        b += a_ends_first ? 0 : 2;
    }
    return common;
}

}  // namespace

// text: all encoded masks joined, in the order [track][frame], detections before truths; offsets: where each begins and
// the end of the last; an empty text is an absent mask. wanted: [detections][truths], pairs to intersect.
// areas: [detections + truths][frames]. intersections: [frames][detections][truths], zeroed by the caller.
// Returns -1, or the index of the first mask that is not a whole mask of `pixels` pixels.
extern "C" __attribute__((visibility("default"))) int64_t mindvideo_tube_overlap(
    const char* text, const int64_t* offsets, int64_t detections, int64_t truths, int64_t frames, int64_t pixels,
    const uint8_t* wanted, int64_t* areas, int64_t* intersections) {
    const int64_t tracks = detections + truths;
    std::vector<Intervals> masks(tracks);
    for (int64_t frame = 0; frame < frames; ++frame) {
        for (int64_t track = 0; track < tracks; ++track) {
            const int64_t index = track * frames + frame;
            Intervals& mask = masks[track];
            if (offsets[index] == offsets[index + 1]) {
                mask.count = 0;
                mask.area = 0;
            } else if (!decode(text + offsets[index], text + offsets[index + 1], pixels, mask)) {
                return index;
            }
            areas[index] = mask.area;
        }
        int64_t* row = intersections + frame * detections * truths;
        for (int64_t d = 0; d < detections; ++d) {
            for (int64_t g = 0; g < truths; ++g) {
                if (wanted[d * truths + g]) row[d * truths + g] = intersection(masks[d], masks[detections + g]);
            }
        }
    }
    return -1;
}
