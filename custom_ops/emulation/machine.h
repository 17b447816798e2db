// The machine that runs kernels on a CPU: blocks one after the other, the threads of a block as fibres that change only at
// barriers and shuffles, in an order drawn from a seed.
//
// It reports, with the kernel and the place in the code:
// - a warp barrier or a shuffle whose mask leaves out the caller, names lanes that never come, or reads a lane that is not there;
// - a block barrier that some threads of the block never reach;
// - two accesses to the same bytes, one of them a write and not both atomic, with no barrier between them: within a warp
//   only __syncwarp orders memory, within a block only __syncthreads, between blocks nothing;
// - a read of memory that nothing has written, shared or on the device; an access outside of every allocation or not aligned.
//
// The compiler's instrumentation for ThreadSanitizer gives the accesses (memory.cpp takes its place at run time); a build
// with AddressSanitizer and UBSan has no such calls and checks what those two check.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emulation {

struct Index {
  unsigned x, y, z;
};
struct Place {
  Index thread, block, block_size, grid_size;
};
extern Place place;  // of the thread that is running

enum class Shuffle { kFrom, kUp, kDown, kXor };

void block_barrier();
void warp_barrier(unsigned mask);
// The bits that the lane meant by `kind` and `by` brought along.
uint64_t exchange(unsigned mask, uint64_t bits, Shuffle kind, unsigned by, unsigned width);

float atomic_add(float *at, float x);
double atomic_add(double *at, double x);
int atomic_add(int *at, int x);
unsigned atomic_add(unsigned *at, unsigned x);
unsigned long long atomic_add(unsigned long long *at, unsigned long long x);
unsigned atomic_max(unsigned *at, unsigned x);
void check_alignment(const void *at, size_t bytes);

void *dynamic_shared_memory();

// Runs `body(arguments)` as every thread of every block. `arguments` are `size` bytes that threads may read.
void run(const char *op, unsigned blocks, unsigned threads, size_t shared_bytes, void (*body)(void *), void *arguments,
         size_t size);

template <typename... Parameters>
void launch(const char *op, void (*kernel)(Parameters...), unsigned blocks, unsigned threads, size_t shared_bytes,
            Parameters... given) {
  auto call = [=] { kernel(given...); };
  using Call = decltype(call);
  run(op, blocks, threads, shared_bytes, [](void *body) { (*static_cast<Call *>(body))(); }, &call, sizeof call);
}

}  // namespace emulation
