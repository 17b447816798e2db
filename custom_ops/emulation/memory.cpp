// Device and shared memory: which bytes exist, which were written, who touched them last; and the functions that the
// compiler's -fsanitize=thread calls before every access.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "machine.h"
#include "state.h"

namespace emulation {
namespace {

constexpr size_t kGrain = 2;  // bytes that share one record; the smallest elements that kernels write are half floats

struct Record {
  Moment write, read[2];
};

struct Area {
  char *begin;
  size_t size;
  bool shared;
  uint8_t *written;  // one flag a byte
  Record *records;   // one a grain
};

std::vector<Area> areas;

Area *area_of(const void *at) {
  const char *p = static_cast<const char *>(at);
  for (size_t i = 0; i < areas.size(); ++i)
    if (p >= areas[i].begin && p < areas[i].begin + areas[i].size) return &areas[i];
  return nullptr;
}

const char *name_of(const Area &area) { return area.shared ? "shared memory" : "device memory"; }

bool same_unit(const Moment &a, const Moment &b) { return a.instance == b.instance && a.thread / kWarp == b.thread / kWarp; }

// Keeps two readers that nothing orders, of two warps where there are such.
void note_reader(Record &record, const Moment &when) {
  for (Moment &kept : record.read)
    if (kept.instance == when.instance && kept.thread == when.thread) {
      kept = when;
      return;
    }
  for (Moment &kept : record.read)
    if (ordered(kept)) {
      kept = when;
      return;
    }
  if (same_unit(record.read[0], record.read[1]) && !same_unit(record.read[0], when)) record.read[1] = when;
}

bool clash(const Moment &before, const Moment &when) {
  return !(before.atomic && when.atomic) && !ordered(before);
}

void touch(const void *at, size_t bytes, bool writes, bool atomic, const void *code) {
  Area *const area = area_of(at);
  const size_t first = area ? static_cast<const char *>(at) - area->begin : 0;
  if (!area || first + bytes > area->size) {
    report(code, "%s of %zu bytes at %p, which no allocation holds%s", writes ? "write" : "read", bytes, at,
           area ? " to its end" : "");
    stop_block();
  }
  Moment when = now();
  when.atomic = atomic;
  if (!writes || atomic)
    for (size_t i = first; i < first + bytes; ++i)
      if (!area->written[i]) {
        report(code, "%s is read before it is written, byte %zu", name_of(*area), i);
        stop_block();
      }
  for (size_t i = first / kGrain; i <= (first + bytes - 1) / kGrain; ++i) {
    Record &record = area->records[i];
    const Moment *other = clash(record.write, when) ? &record.write : nullptr;
    if (writes)
      for (const Moment &reader : record.read)
        if (clash(reader, when)) other = &reader;
    if (other) {
      report(code, "race in %s: thread %u %s byte %zu, which thread %u of %s block has touched with no barrier between",
             name_of(*area), when.thread, writes ? "writes" : "reads", i * kGrain, other->thread,
             other->instance == when.instance ? "the same" : "another");
      stop_block();  // what follows a race may well not end
    }
    if (writes)
      record.write = when;
    else
      note_reader(record, when);
  }
  if (writes) std::memset(area->written + first, 1, bytes);
}

void check(const void *at, size_t bytes, bool writes, const void *code) {
  if (!in_kernel() || harmless(at)) return;
  if ((bytes & (bytes - 1)) == 0 && bytes <= 16 && reinterpret_cast<uintptr_t>(at) % bytes != 0)
    report(code, "access of %zu bytes at %p, which is not aligned to them", bytes, at), stop_block();
  touch(at, bytes, writes, false, code);
}

template <typename T>
T atomically(T *at, const void *code, T (*change)(T, T), T x) {
  check_alignment(at, sizeof(T));
#ifdef EMULATION_CHECKED
  touch(at, sizeof(T), true, true, code);
#else
  (void)code;
#endif
  const T before = *at;
  *at = change(before, x);
  return before;
}

template <typename T>
T sum(T a, T b) {
  return a + b;
}

}  // namespace

void *allocate(size_t bytes, bool shared) {
  // Exactly as many bytes as asked for, so that AddressSanitizer sees the end.
  void *memory = nullptr;
  if (posix_memalign(&memory, 256, bytes ? bytes : 1) != 0) return nullptr;
  std::memset(memory, 0xcd, bytes);
  Area area{static_cast<char *>(memory), bytes, shared, nullptr, nullptr};
#ifdef EMULATION_CHECKED
  area.written = static_cast<uint8_t *>(std::calloc(bytes + 1, 1));
  area.records = static_cast<Record *>(std::calloc(bytes / kGrain + 1, sizeof(Record)));
#endif
  areas.push_back(area);
  return memory;
}

void release(void *memory) {
  for (size_t i = 0; i < areas.size(); ++i)
    if (areas[i].begin == memory) {
      std::free(areas[i].written);
      std::free(areas[i].records);
      std::free(memory);
      areas.erase(areas.begin() + static_cast<std::ptrdiff_t>(i));
      return;
    }
  if (memory) report(nullptr, "memory at %p is freed that was never allocated", memory);
}

bool known(const void *memory, size_t bytes) {
  const Area *const area = area_of(memory);
  return bytes == 0 || (area && static_cast<const char *>(memory) + bytes <= area->begin + area->size);
}

void mark(const void *memory, size_t bytes, bool written) {
  Area *const area = area_of(memory);
  if (area && area->written) std::memset(area->written + (static_cast<const char *>(memory) - area->begin), written, bytes);
}

size_t unwritten(const void *memory, size_t bytes) {
  const Area *const area = area_of(memory);
  size_t count = 0;
  if (area && area->written)
    for (size_t i = 0; i < bytes; ++i) count += !area->written[static_cast<const char *>(memory) - area->begin + i];
  return count;
}

void check_alignment(const void *at, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(at) % bytes != 0)
    report(__builtin_return_address(0), "access of %zu bytes at %p, which is not aligned to them", bytes, at);
}

#define EMULATION_ATOMIC(T) \
  T atomic_add(T *at, T x) { return atomically<T>(at, __builtin_return_address(0), sum<T>, x); }
EMULATION_ATOMIC(float)
EMULATION_ATOMIC(double)
EMULATION_ATOMIC(int)
EMULATION_ATOMIC(unsigned)
EMULATION_ATOMIC(unsigned long long)

unsigned atomic_max(unsigned *at, unsigned x) {
  return atomically<unsigned>(
      at, __builtin_return_address(0), [](unsigned a, unsigned b) { return a > b ? a : b; }, x);
}

}  // namespace emulation

#ifdef EMULATION_CHECKED
extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void **, void *) {}
#define EMULATION_HOOKS(bytes)                                                                                       \
  void __tsan_read##bytes(void *at) { emulation::check(at, bytes, false, __builtin_return_address(0)); }             \
  void __tsan_write##bytes(void *at) { emulation::check(at, bytes, true, __builtin_return_address(0)); }             \
  void __tsan_unaligned_read##bytes(void *at) { emulation::check(at, bytes, false, __builtin_return_address(0)); }   \
  void __tsan_unaligned_write##bytes(void *at) { emulation::check(at, bytes, true, __builtin_return_address(0)); }
EMULATION_HOOKS(1)
EMULATION_HOOKS(2)
EMULATION_HOOKS(4)
EMULATION_HOOKS(8)
EMULATION_HOOKS(16)
void __tsan_read_range(void *at, size_t bytes) { emulation::check(at, bytes, false, __builtin_return_address(0)); }
void __tsan_write_range(void *at, size_t bytes) { emulation::check(at, bytes, true, __builtin_return_address(0)); }
}
#endif
