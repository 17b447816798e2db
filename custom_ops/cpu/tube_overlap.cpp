// Areas and intersections of run-length encoded masks, frame by frame, for every pair of a detection and a truth.
//
// Plain C interface for ctypes: it knows nothing of tensors or MindSpore. Memory is that of the masks of one frame.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "rle.h"

namespace {

using mindvideo::MaskIntervals;

int64_t intersection(const MaskIntervals& one, const MaskIntervals& other) {
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

// code: all encoded masks joined, in the order [track][frame], detections before truths; offsets: where each begins and
// the end of the last; an empty code is an absent mask. wanted: [detections][truths], pairs to intersect.
// areas: [detections + truths][frames]. intersections: [frames][detections][truths], zeroed by the caller.
// Returns -1, or the index of the first mask that is not a whole mask of `pixels` pixels.
extern "C" __attribute__((visibility("default"))) int64_t mindvideo_tube_overlap(
    const char* code, const int64_t* offsets, int64_t detections, int64_t truths, int64_t frames, int64_t pixels,
    const uint8_t* wanted, int64_t* areas, int64_t* intersections) {
    const int64_t tracks = detections + truths;
    std::vector<MaskIntervals> masks(tracks);
    for (int64_t frame = 0; frame < frames; ++frame) {
        for (int64_t track = 0; track < tracks; ++track) {
            const int64_t index = track * frames + frame;
            MaskIntervals& mask = masks[track];
            if (offsets[index] == offsets[index + 1]) {
                mask.count = 0;
                mask.area = 0;
            } else if (!mindvideo::read_runs(code + offsets[index], code + offsets[index + 1], pixels, mask)) {
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
