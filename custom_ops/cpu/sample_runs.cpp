// Chosen rows and columns of a run-length encoded mask, without making the whole mask.
//
// Plain C interface for ctypes: it knows nothing of tensors or MindSpore.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// Foreground as half-open intervals of column-major positions: begin, end, begin, end, ... False when the text (COCO's
// compressed form: 6-bit characters from '0', 5 bits of value each, differences from the fourth run on) is damaged.
bool foreground(const char* text, int64_t length, int64_t pixels, std::vector<int64_t>& runs, std::vector<int64_t>& ends) {
    runs.clear();
    ends.clear();
    const char* stop = text + length;
    int64_t position = 0;
    while (text < stop) {
        int64_t value = 0;
        int shift = 0;
        int bits;
        do {
            if (text == stop || shift > 55) return false;
            bits = *text++ - '0';
            if (bits < 0 || bits > 63) return false;
            value |= static_cast<int64_t>(bits & 0x1f) << shift;
            shift += 5;
        } while (bits & 0x20);
        if (bits & 0x10) value -= static_cast<int64_t>(1) << shift;
        const std::size_t count = runs.size();
        if (count > 2) value += runs[count - 2];
        if (value < 0 || value > pixels - position) return false;
        if (count % 2 == 1 && value > 0) {
            ends.push_back(position);
            ends.push_back(position + value);
        }
        runs.push_back(value);
        position += value;
    }
    return position == pixels;
}

}  // namespace

// Writes 1 where the mask of `height` x `width` covers (rows[i], columns[j]) into `result` [num_rows, num_columns],
// which holds zeros. `rows` ascend; `columns` come in any order. Returns 0, or 1 for a damaged text.
extern "C" __attribute__((visibility("default"))) int mindvideo_sample_runs(
    const char* text, int64_t length, int height, int width, const int64_t* rows, int num_rows, const int64_t* columns,
    int num_columns, uint8_t* result) {
    static thread_local std::vector<int64_t> runs, ends;
    if (!foreground(text, length, static_cast<int64_t>(height) * width, runs, ends)) return 1;
    if (ends.empty()) return 0;
    for (int j = 0; j < num_columns; ++j) {
        const int64_t top = columns[j] * height, bottom = top + height;
        // The first interval whose end lies beyond the column's top: ends at odd places.
        std::size_t low = 0, high = ends.size() / 2;
        while (low < high) {
            const std::size_t middle = (low + high) / 2;
            if (ends[2 * middle + 1] <= top) low = middle + 1; else high = middle;
        }
        for (std::size_t k = low; k < ends.size() / 2 && ends[2 * k] < bottom; ++k) {
            const int64_t begin = std::max(ends[2 * k], top) - top, end = std::min(ends[2 * k + 1], bottom) - top;
            const int64_t* first = std::lower_bound(rows, rows + num_rows, begin);
            const int64_t* last = std::lower_bound(first, rows + num_rows, end);
            for (const int64_t* row = first; row < last; ++row) {
                result[static_cast<std::size_t>(row - rows) * num_columns + j] = 1;
            }
        }
    }
    return 0;
}
