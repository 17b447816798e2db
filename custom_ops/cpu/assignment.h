// The optimal assignment by shortest augmenting paths, in double precision.
#pragma once

#include <cstdint>

namespace mindvideo {

// cost [queries, instances] of one problem, valid [instances]; writes the query of each instance or -1.
// Costs that are not finite count as more than any assignment of finite ones. Returns false when out of memory.
bool assign(const float *cost, const uint8_t *valid, int64_t queries, int64_t instances, int32_t *result);

}  // namespace mindvideo
