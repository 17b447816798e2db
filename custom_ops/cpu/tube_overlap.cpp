// Areas and intersections of run-length encoded masks, frame by frame, for every pair of a detection and a truth.
//
// Plain C interface for ctypes: it knows nothing of tensors or MindSpore. Memory is that of the masks of one frame.
#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

// Foreground of one mask as half-open intervals of column-major pixel positions: begin, end, begin, end, ...
struct Intervals {
    std::vector<int64_t> ends;
    int64_t area = 0;
};

// The compressed form of COCO: 6-bit characters from '0', 5 bits of value each, least significant first, 0x20 for
// "more", sign extended; from the fourth run on the value is the difference to the run two places before.
bool decode(const char* text, const char* stop, int64_t pixels, std::vector<int64_t>& runs, Intervals& mask) {
    runs.clear();
    mask.ends.clear();
    mask.area = 0;
    int64_t position = 0;
    while (text < stop) {
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
        const std::size_t count = runs.size();
        if (count > 2) value += runs[count - 2];
        if (value < 0 || value > pixels - position) return false;
        if (count % 2 == 1 && value > 0) {
            mask.ends.push_back(position);
            mask.ends.push_back(position + value);
            mask.area += value;
        }
        runs.push_back(value);
        position += value;
    }
    return position == pixels;
}

int64_t intersection(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
    if (a.empty() || b.empty() || a.back() <= b.front() || b.back() <= a.front()) return 0;
    int64_t common = 0;
    std::size_t i = 0, j = 0;
    while (i < a.size() && j < b.size()) {
        const int64_t begin = a[i] > b[j] ? a[i] : b[j];
        const int64_t end = a[i + 1] < b[j + 1] ? a[i + 1] : b[j + 1];
        common += end > begin ? end - begin : 0;
        const bool a_ends_first = a[i + 1] < b[j + 1];
        i += a_ends_first ? 2 : 0;
        j += a_ends_first ? 0 : 2;
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
    std::vector<int64_t> runs;
    for (int64_t frame = 0; frame < frames; ++frame) {
        for (int64_t track = 0; track < tracks; ++track) {
            const int64_t index = track * frames + frame;
            Intervals& mask = masks[track];
            if (offsets[index] == offsets[index + 1]) {
                mask.ends.clear();
                mask.area = 0;
            } else if (!decode(text + offsets[index], text + offsets[index + 1], pixels, runs, mask)) {
                return index;
            }
            areas[index] = mask.area;
        }
        int64_t* row = intersections + frame * detections * truths;
        for (int64_t d = 0; d < detections; ++d) {
            for (int64_t g = 0; g < truths; ++g) {
                if (wanted[d * truths + g]) row[d * truths + g] = intersection(masks[d].ends, masks[detections + g].ends);
            }
        }
    }
    return -1;
}
