// Worker threads that sleep between calls, so that they do not compete with the caller's own thread pool.
#pragma once

#include <cstdint>

namespace mindvideo {

// Threads a parallel loop uses at most: MINDVIDEO_NUM_THREADS, else the cores of this process.
int thread_count();

using Task = void (*)(void *context, int64_t unit, int thread);

// Calls task(context, unit, thread) for every unit in [0, units), thread in [0, thread_count()). Returns when all are
// done. A second caller at the same time, and a call from within a task, runs its units by itself as thread 0.
void run_units(int64_t units, Task task, void *context);

template <typename Body>
void parallel_for(int64_t units, Body &body) {
  run_units(
      units, [](void *context, int64_t unit, int thread) { (*static_cast<Body *>(context))(unit, thread); }, &body);
}

}  // namespace mindvideo
