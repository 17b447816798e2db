// Small sums of whole numbers that say how work and memory are cut.
#pragma once

#include <cstdint>

namespace {

inline int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
inline int64_t parts_of(int64_t n, int64_t size) { return (n + size - 1) / size; }
inline int64_t at_most(int64_t n, int64_t limit) { return n < limit ? n : limit; }

}  // namespace
