// Fibres, barriers and shuffles. See machine.h.
#include "machine.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <vector>

#include "state.h"

// A switch of a few instructions; elsewhere ucontext's, which makes system calls. -DEMULATION_UCONTEXT tries that one.
#if defined(__x86_64__) && !defined(EMULATION_UCONTEXT)
#define EMULATION_SWITCH
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulation {

extern const char *running_op;
Place place;

namespace {

constexpr size_t kStack = 128 * 1024;

enum class State { kReady, kBlockBarrier, kWarpBarrier, kShuffle, kDone };

struct Thread {
  void *stack_pointer;
#ifndef EMULATION_SWITCH
  ucontext_t context;
#endif
  char *stack;
  State state;
  unsigned mask;
  Shuffle kind;
  unsigned by, width;
  uint64_t bits;
  const void *code;
  uint32_t clocks[kWarp];  // how far this lane has seen each lane of its warp
};

std::vector<Thread> threads;
unsigned thread_count;
Thread *running = nullptr;
void *machine_stack_pointer;
#ifndef EMULATION_SWITCH
ucontext_t machine_context;
#endif
const void *machine_stack_bottom;
size_t machine_stack_size;
bool stopped;
void (*kernel_body)(void *);
char *kernel_arguments;
size_t kernel_arguments_size;
uint32_t first_instance, instance, epoch;
char *shared;
uint64_t random_state = 0x9e3779b97f4a7c15u;

unsigned random_below(unsigned limit) {
  random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
  return static_cast<unsigned>(random_state >> 33) % limit;
}

void shuffle_order(std::vector<unsigned> &order) {
  for (unsigned i = static_cast<unsigned>(order.size()); i > 1; --i) std::swap(order[i - 1], order[random_below(i)]);
}

unsigned index_of(const Thread &thread) { return static_cast<unsigned>(&thread - threads.data()); }

#ifdef EMULATION_SWITCH
extern "C" void mindvideo_emulation_switch(void **from, void *to);
asm(R"(
  .text
  .globl mindvideo_emulation_switch
  .hidden mindvideo_emulation_switch
  .type mindvideo_emulation_switch, @function
mindvideo_emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
#endif

void to_thread(Thread &thread) {
#ifdef __SANITIZE_ADDRESS__
  void *fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, thread.stack, kStack);
#endif
#ifdef EMULATION_SWITCH
  mindvideo_emulation_switch(&machine_stack_pointer, thread.stack_pointer);
#else
  swapcontext(&machine_context, &thread.context);
#endif
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

void to_machine() {
#ifdef __SANITIZE_ADDRESS__
  void *fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, machine_stack_bottom, machine_stack_size);
#endif
#ifdef EMULATION_SWITCH
  mindvideo_emulation_switch(&running->stack_pointer, machine_stack_pointer);
#else
  swapcontext(&running->context, &machine_context);
#endif
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(fake, &machine_stack_bottom, &machine_stack_size);
#endif
}

void thread_main() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &machine_stack_bottom, &machine_stack_size);
#endif
  kernel_body(kernel_arguments);
  running->state = State::kDone;
  to_machine();
  std::abort();  // a thread that is done is not run again
}

void start(Thread &thread) {
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(thread.stack, kStack);
#endif
#ifdef EMULATION_SWITCH
  void **top = reinterpret_cast<void **>(thread.stack + kStack) - 3;  // aligned as after a call
  *top = nullptr;                                                     // where thread_main would return to
  *--top = reinterpret_cast<void *>(thread_main);                     // where the switch returns to
  top -= 6;                                         // the saved registers
  std::memset(top, 0, 6 * sizeof(void *));
  thread.stack_pointer = top;
#else
  getcontext(&thread.context);
  thread.context.uc_stack.ss_sp = thread.stack;
  thread.context.uc_stack.ss_size = kStack;
  makecontext(&thread.context, thread_main, 0);
#endif
  thread.state = State::kReady;
  std::memset(thread.clocks, 0, sizeof thread.clocks);
  thread.clocks[index_of(thread) % kWarp] = 1;
}

void wait(State state) {
  running->state = state;
  to_machine();
}

void run_thread(Thread &thread) {
  running = &thread;
  place.thread = {index_of(thread), 0, 0};
  to_thread(thread);
  running = nullptr;
}

const char *name_of(State state) { return state == State::kShuffle ? "shuffle" : "warp barrier"; }

// The lane that a shuffle reads, or the caller's own where the distance leaves the group.
unsigned source_of(const Thread &thread, unsigned lane) {
  const unsigned first = lane / thread.width * thread.width, inner = lane - first;
  switch (thread.kind) {
    case Shuffle::kFrom: return first + thread.by % thread.width;
    case Shuffle::kUp: return inner >= thread.by ? lane - thread.by : lane;
    case Shuffle::kDown: return inner + thread.by < thread.width ? lane + thread.by : lane;
    default: return (inner ^ thread.by) < thread.width ? first + (inner ^ thread.by) : lane;
  }
}

void finish_shuffle(Thread *warp, unsigned present, unsigned lanes) {
  uint64_t results[kWarp];
  for (unsigned lane = 0; lane < lanes; ++lane) {
    if (!(present >> lane & 1)) continue;
    const unsigned source = source_of(warp[lane], lane);
    if (!(source < lanes && present >> source & 1))
      report(warp[lane].code, "lane %u reads lane %u by a shuffle in which that lane has no part", lane, source), stopped = true;
    results[lane] = warp[source < lanes ? source : lane].bits;
  }
  for (unsigned lane = 0; lane < lanes; ++lane)
    if (present >> lane & 1) warp[lane].bits = results[lane];
}

void finish_barrier(Thread *warp, unsigned present, unsigned lanes) {
  uint32_t joined[kWarp] = {};
  for (unsigned lane = 0; lane < lanes; ++lane)
    if (present >> lane & 1)
      for (unsigned i = 0; i < kWarp; ++i) joined[i] = std::max(joined[i], warp[lane].clocks[i]);
  for (unsigned lane = 0; lane < lanes; ++lane)
    if (present >> lane & 1) {
      std::memcpy(warp[lane].clocks, joined, sizeof joined);
      ++warp[lane].clocks[lane];
    }
}

// Lets go the lanes whose warp barrier or shuffle is complete.
bool release_warp(unsigned first) {
  Thread *const warp = threads.data() + first;
  const unsigned lanes = std::min(kWarp, thread_count - first);
  bool released = false;
  for (unsigned lane = 0; lane < lanes; ++lane) {
    const Thread &caller = warp[lane];
    if (caller.state != State::kWarpBarrier && caller.state != State::kShuffle) continue;
    unsigned present = 0;
    bool complete = true;
    for (unsigned i = 0; i < lanes; ++i) {
      if (!(caller.mask >> i & 1) || warp[i].state == State::kDone) continue;
      const bool there = warp[i].state == caller.state && warp[i].mask == caller.mask &&
                         (caller.state == State::kWarpBarrier || warp[i].kind == caller.kind);
      complete &= there;
      present |= there ? 1u << i : 0;
    }
    if (!complete) continue;
    caller.state == State::kShuffle ? finish_shuffle(warp, present, lanes) : finish_barrier(warp, present, lanes);
    for (unsigned i = 0; i < lanes; ++i)
      if (present >> i & 1) warp[i].state = State::kReady;
    released = true;
  }
  return released;
}

// All threads wait and no warp can go on: the block barrier, or an end in deadlock.
bool release_block() {
  unsigned at_barrier = 0, done = 0;
  const Thread *stuck = nullptr, *waiting = nullptr;
  for (unsigned i = 0; i < thread_count; ++i) {
    at_barrier += threads[i].state == State::kBlockBarrier, done += threads[i].state == State::kDone;
    if (threads[i].state == State::kBlockBarrier) waiting = &threads[i];
    if (threads[i].state == State::kWarpBarrier || threads[i].state == State::kShuffle) stuck = &threads[i];
  }
  if (stuck) {
    report(stuck->code, "thread %u waits in a %s for lanes of its mask 0x%08x that never come", index_of(*stuck),
           name_of(stuck->state), stuck->mask);
    stopped = true;
    return false;
  }
  if (done == thread_count) return false;
  if (done > 0) {
    report(waiting->code, "%u threads wait in __syncthreads and %u have ended", at_barrier, done);
    stopped = true;
    return false;
  }
  ++epoch;
  for (unsigned i = 0; i < thread_count; ++i) threads[i].state = State::kReady;
  return true;
}

void run_block() {
  const unsigned warps = (thread_count + kWarp - 1) / kWarp;
  std::vector<unsigned> order(warps), lanes(kWarp);
  std::iota(order.begin(), order.end(), 0u);
  std::iota(lanes.begin(), lanes.end(), 0u);
  for (unsigned i = 0; i < thread_count; ++i) start(threads[i]);
  epoch = 0;
  do {
    shuffle_order(order);
    for (const unsigned warp : order) {
      shuffle_order(lanes);
      // A warp runs on until it waits for the others, so that warps drift as far apart as barriers let them.
      do
        for (const unsigned lane : lanes) {
          const unsigned index = warp * kWarp + lane;
          if (index < thread_count && threads[index].state == State::kReady) run_thread(threads[index]);
          if (stopped) return;
        }
      while (release_warp(warp * kWarp));
      if (stopped) return;
    }
  } while (release_block());
}

void prepare_threads(unsigned count) {
  while (threads.size() < count) {
    Thread thread{};
    thread.stack = static_cast<char *>(
        mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (thread.stack == MAP_FAILED) std::abort();
    threads.push_back(thread);
  }
  thread_count = count;
}

void enter(State state, unsigned mask, const void *code) {
  const unsigned lane = index_of(*running) % kWarp;
  running->mask = mask, running->code = code;
  if (!(mask >> lane & 1)) {
    report(code, "lane %u calls a %s with mask 0x%08x, which leaves it out", lane, name_of(state), mask);
    stop_block();
  }
  wait(state);
}

}  // namespace

bool in_kernel() { return running != nullptr; }

Moment now() {
  const unsigned index = index_of(*running);
  return {instance, epoch, running->clocks[index % kWarp], static_cast<uint16_t>(index), 0};
}

bool ordered(const Moment &before) {
  if (before.instance < first_instance) return true;
  const unsigned index = index_of(*running);
  if (before.instance != instance) return false;
  if (before.thread == index || before.epoch < epoch) return true;
  return before.thread / kWarp == index / kWarp && running->clocks[before.thread % kWarp] >= before.clock;
}

bool harmless(const void *at) {
  const char *const p = static_cast<const char *>(at);
  return (p >= running->stack && p < running->stack + kStack) ||
         (p >= kernel_arguments && p < kernel_arguments + kernel_arguments_size) ||
         (p >= reinterpret_cast<char *>(&place) && p < reinterpret_cast<char *>(&place + 1));
}

void stop_block() {
  stopped = true;
  running->state = State::kDone;
  to_machine();
  std::abort();
}

void block_barrier() {
  running->code = __builtin_return_address(0);
  wait(State::kBlockBarrier);
}

void warp_barrier(unsigned mask) { enter(State::kWarpBarrier, mask, __builtin_return_address(0)); }

uint64_t exchange(unsigned mask, uint64_t bits, Shuffle kind, unsigned by, unsigned width) {
  running->bits = bits, running->kind = kind, running->by = by, running->width = width;
  enter(State::kShuffle, mask, __builtin_return_address(0));
  return running->bits;
}

void *dynamic_shared_memory() { return shared; }

void run(const char *op, unsigned blocks, unsigned block_size, size_t shared_bytes, void (*body)(void *), void *arguments,
         size_t size) {
  running_op = op;
  if (blocks == 0 || blocks > INT32_MAX || block_size == 0 || block_size > kMaxThreads || shared_bytes > kSharedLimit) {
    report(nullptr, "a launch of %u blocks of %u threads with %zu bytes of shared memory", blocks, block_size, shared_bytes);
    return;
  }
  prepare_threads(block_size);
  kernel_body = body, kernel_arguments = static_cast<char *>(arguments), kernel_arguments_size = size;
  place.block_size = {block_size, 1, 1}, place.grid_size = {blocks, 1, 1};
  first_instance = instance + 1;
  stopped = false;
  std::vector<unsigned> order(blocks);
  std::iota(order.begin(), order.end(), 0u);
  shuffle_order(order);
  for (const unsigned block : order) {
    if (stopped) break;
    ++instance;
    shared = shared_bytes ? static_cast<char *>(allocate(shared_bytes, true)) : nullptr;
    place.block = {block, 0, 0};
    run_block();
    if (shared) release(shared);
  }
}

}  // namespace emulation

// Another order of blocks, warps and lanes; the same seed gives the same order.
extern "C" __attribute__((visibility("default"))) void emulation_seed(uint64_t seed) {
  emulation::random_state = 0x9e3779b97f4a7c15u * (2 * seed + 1);
}
