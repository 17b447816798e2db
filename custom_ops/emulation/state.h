// What machine.cpp, memory.cpp and runtime.cpp share.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emulation {

constexpr unsigned kWarp = 32;
constexpr unsigned kMaxThreads = 1024;
constexpr size_t kSharedLimit = 48 * 1024;

// When a thread touched memory. `instance` counts blocks over all launches; 0: never.
struct Moment {
  uint32_t instance = 0;
  uint32_t epoch = 0;  // block barriers passed
  uint32_t clock = 0;  // warp barriers passed by the lane
  uint16_t thread = 0;
  uint16_t atomic = 0;
};

// machine.cpp
bool in_kernel();
Moment now();
bool ordered(const Moment &before);    // whether what was done then is visible to the running thread
bool harmless(const void *at);         // the thread's own stack, the kernel's arguments, the machine's own variables
[[noreturn]] void stop_block();        // the running thread found something that it cannot run on from

// memory.cpp
void *allocate(size_t bytes, bool shared);
void release(void *memory);
bool known(const void *memory, size_t bytes);
void mark(const void *memory, size_t bytes, bool written);
size_t unwritten(const void *memory, size_t bytes);

// runtime.cpp: notes one finding; the launch fails.
void report(const void *code, const char *format, ...) __attribute__((format(printf, 2, 3)));

}  // namespace emulation
