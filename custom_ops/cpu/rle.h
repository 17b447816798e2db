// COCO's compressed run-length code of a mask, read within its bounds.
//
// A code lists the lengths of runs, column by column, background first. A run is written in 6-bit characters from '0',
// each with 5 bits of its value, the lowest first; 0x20 says that more follow, and 0x10 in the last one is the sign. From
// the fourth run on the value is the difference to the run two places before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mindvideo {

// The foreground of one mask as half-open intervals of column-major pixel positions: begin, end, begin, end, ... The
// memory is kept from mask to mask and only grows.
struct MaskIntervals {
    std::vector<int64_t> ends;  // only the first `count` are of this mask
    std::size_t count = 0;
    int64_t area = 0;
};

// Reads the characters from `code` up to `stop`. False unless they are the runs of a whole mask of `pixels` pixels.
inline bool read_runs(const char* code, const char* stop, int64_t pixels, MaskIntervals& mask) {
    constexpr int max_shift = 55;  // 12 characters, 60 bits
    const std::size_t max_ends = static_cast<std::size_t>(stop - code) + 2;  // a run has at least one character
    if (mask.ends.size() < max_ends) mask.ends.resize(2 * max_ends);
    int64_t* next = mask.ends.data();
    int64_t position = 0, area = 0;
    int64_t before[2] = {0, 0};  // the last run of the background and of the foreground
    mask.count = 0;
    mask.area = 0;
    for (std::size_t number = 0; code < stop; ++number) {
        int bits = *code++ - '0';
        if (bits < 0 || bits > 63) return false;
        int64_t value = (bits & 0x0f) - (bits & 0x10);  // most runs have one character
        if (bits & 0x20) {
            value = bits & 0x1f;
            int shift = 5;
            do {
                if (code == stop || shift > max_shift) return false;
                bits = *code++ - '0';
                if (bits < 0 || bits > 63) return false;
                value |= static_cast<int64_t>(bits & 0x1f) << shift;
                shift += 5;
            } while (bits & 0x20);
            if (bits & 0x10) value -= static_cast<int64_t>(1) << shift;
        }
        const std::size_t foreground = number & 1;
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
    if (position != pixels) return false;
    mask.count = static_cast<std::size_t>(next - mask.ends.data());
    mask.area = area;
    return true;
}

}  // namespace mindvideo
