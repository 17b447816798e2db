// Chosen rows and columns of a run-length encoded mask, without making the whole mask.
//
// Plain C interface for ctypes: it knows nothing of tensors or MindSpore.
#include <algorithm>
#include <cstdint>

#include "rle.h"

// Writes 1 where the mask of `height` x `width` covers (rows[i], columns[j]) into `result` [num_rows, num_columns],
// which holds zeros. `rows` ascend; `columns` come in any order. Returns 0, or 1 for a damaged code.
extern "C" __attribute__((visibility("default"))) int mindvideo_sample_runs(
    const char* code, int64_t length, int height, int width, const int64_t* rows, int num_rows, const int64_t* columns,
    int num_columns, uint8_t* result) {
    static thread_local mindvideo::MaskIntervals mask;
    if (!mindvideo::read_runs(code, code + length, static_cast<int64_t>(height) * width, mask)) return 1;
    const int64_t* ends = mask.ends.data();
    const std::size_t intervals = mask.count / 2;
    for (int j = 0; j < num_columns; ++j) {
        const int64_t top = columns[j] * height, bottom = top + height;
        // The first interval whose end lies beyond the column's top: ends at odd places.
        std::size_t low = 0, high = intervals;
        while (low < high) {
            const std::size_t middle = (low + high) / 2;
            if (ends[2 * middle + 1] <= top) low = middle + 1; else high = middle;
        }
        for (std::size_t k = low; k < intervals && ends[2 * k] < bottom; ++k) {
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
