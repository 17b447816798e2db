// Lets MindSpore's threads sleep while they wait, where somebody else wants the processor.
//
// MindSpore's threads wait for each other in loops around sched_yield(). On a quiet machine that costs nothing: the
// call returns at once. Beside another busy process every turn of such a loop hands the processor over for a whole time
// slice, thousands of times a second. A thread that sleeps instead is woken before the busy one, as soon as its time is
// up. It sleeps only where other processes work, too: a thread of its own process, which works while this one waits,
// would be disturbed thirty times a millisecond. There is no setting for it, so the library puts a function of its own where MindSpore's libraries look up
// sched_yield: into their tables of imported functions, in this process only.
#include <cstdint>  // defines __GLIBC__, too

#if defined(__linux__) && defined(__GLIBC__) && (defined(__x86_64__) || defined(__aarch64__))
#define MINDVIDEO_CAN_REPLACE 1
#endif

#ifdef MINDVIDEO_CAN_REPLACE
#include <elf.h>
#include <link.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>

namespace {

#ifdef __x86_64__
constexpr uint32_t IMPORTS[] = {R_X86_64_JUMP_SLOT, R_X86_64_GLOB_DAT};
#else
constexpr uint32_t IMPORTS[] = {R_AARCH64_JUMP_SLOT, R_AARCH64_GLOB_DAT};
#endif

constexpr int64_t LONG_YIELD = 30 * 1000;  // ns; one that nobody waited for takes less than 1000
constexpr int64_t NAP = 30 * 1000;         // ns
constexpr int NAPS = 100;                  // before the next look whether the processor is still wanted
constexpr int64_t LOOK_EVERY = 250 * 1000 * 1000;  // ns; the kernel counts in steps of 10 ms
constexpr int64_t TOO_OLD = 4 * LOOK_EVERY;        // two counts that far apart say little of now
constexpr double OTHERS = 0.25;                    // cores' worth of work of others that makes a wait patient

int64_t read_clock(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

// Nanoseconds that the cores of this process have worked so far, for whomever; -1 where the kernel does not tell.
int64_t worked_by_all() {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) != 0) return -1;
  std::FILE *file = std::fopen("/proc/stat", "re");
  if (!file) return -1;
  int64_t ticks = 0;
  char line[256];
  while (std::fgets(line, sizeof line, file) && std::strncmp(line, "cpu", 3) == 0) {
    unsigned core;
    long long user, nice, system, idle, disk, interrupts, late;
    if (std::sscanf(line, "cpu%u %lld %lld %lld %lld %lld %lld %lld", &core, &user, &nice, &system, &idle, &disk,
                    &interrupts, &late) == 8 &&
        core < CPU_SETSIZE && CPU_ISSET(core, &cores))
      ticks += user + nice + system + interrupts + late;
  }
  std::fclose(file);
  return ticks * (INT64_C(1000000000) / sysconf(_SC_CLK_TCK));
}

// Whether other processes work on the cores of this one. Its own threads may sleep or spin: only what others did counts.
bool others_work() {
  static std::atomic<int64_t> next_look{0};
  static std::atomic<bool> found{false};
  static int64_t last_time = 0, last_all = 0, last_own = 0;  // of the one thread that looks
  const int64_t time = read_clock(CLOCK_MONOTONIC);
  int64_t due = next_look.load();
  if (time >= due && due != INT64_MAX && next_look.compare_exchange_strong(due, INT64_MAX)) {
    const int64_t all = worked_by_all(), own = read_clock(CLOCK_PROCESS_CPUTIME_ID), passed = time - last_time;
    const double others = static_cast<double>((all - last_all) - (own - last_own)) / static_cast<double>(passed);
    found.store(all < 0 || (passed < TOO_OLD && others > OTHERS));  // unknown: rather patient than starved
    last_time = time, last_all = all, last_own = own;
    next_look.store(time + LOOK_EVERY);
  }
  return found.load();
}

int patient_yield() {
  thread_local int naps = 0;
  if (naps == 0) {
    const int64_t begin = read_clock(CLOCK_MONOTONIC);
    sched_yield();
    if (read_clock(CLOCK_MONOTONIC) - begin < LONG_YIELD || !others_work()) return 0;
    prctl(PR_SET_TIMERSLACK, 1000UL);  // or else the nap is 50 us longer than asked
    naps = NAPS;
  }
  --naps;
  const timespec nap{0, NAP};
  clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, nullptr);
  return 0;
}

// The parts of a loaded library's dynamic section that describe its imported functions.
struct Imports {
  const ElfW(Sym) *symbols = nullptr;
  const char *names = nullptr;
  const ElfW(Rela) *calls = nullptr, *data = nullptr;
  size_t num_calls = 0, num_data = 0;
};

Imports imports_of(const ElfW(Dyn) *entry) {
  Imports found;
  size_t bytes = 0, data_bytes = 0;
  for (; entry->d_tag != DT_NULL; ++entry) {
    const auto address = entry->d_un.d_ptr;
    if (entry->d_tag == DT_SYMTAB) found.symbols = reinterpret_cast<const ElfW(Sym) *>(address);
    if (entry->d_tag == DT_STRTAB) found.names = reinterpret_cast<const char *>(address);
    if (entry->d_tag == DT_JMPREL) found.calls = reinterpret_cast<const ElfW(Rela) *>(address);
    if (entry->d_tag == DT_RELA) found.data = reinterpret_cast<const ElfW(Rela) *>(address);
    if (entry->d_tag == DT_PLTRELSZ) bytes = entry->d_un.d_val;
    if (entry->d_tag == DT_RELASZ) data_bytes = entry->d_un.d_val;
  }
  found.num_calls = found.calls ? bytes / sizeof(ElfW(Rela)) : 0;
  found.num_data = found.data ? data_bytes / sizeof(ElfW(Rela)) : 0;
  return found;
}

// Writes into a table that the loader may have made read-only, and leaves it as it was.
bool write_entry(void **entry, void *value, bool read_only) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  void *start = reinterpret_cast<void *>(reinterpret_cast<uintptr_t>(entry) & ~(page - 1));
  if (read_only && mprotect(start, page, PROT_READ | PROT_WRITE) != 0) return false;
  __atomic_store_n(entry, value, __ATOMIC_RELEASE);  // an entry is aligned, so it never crosses a page
  if (read_only) mprotect(start, page, PROT_READ);
  return true;
}

int replace_in(dl_phdr_info *library, size_t, void *count) {
  if (!library->dlpi_name || !std::strstr(library->dlpi_name, "/mindspore/")) return 0;
  const ElfW(Dyn) *dynamic = nullptr;
  ElfW(Addr) first_fixed = 0, last_fixed = 0;  // what the loader makes read-only once it has filled it in
  for (int i = 0; i < library->dlpi_phnum; ++i) {
    const ElfW(Phdr) &segment = library->dlpi_phdr[i];
    const ElfW(Addr) start = library->dlpi_addr + segment.p_vaddr;
    if (segment.p_type == PT_DYNAMIC) dynamic = reinterpret_cast<const ElfW(Dyn) *>(start);
    if (segment.p_type == PT_GNU_RELRO) first_fixed = start, last_fixed = start + segment.p_memsz;
  }
  if (!dynamic) return 0;
  const Imports imports = imports_of(dynamic);
  if (!imports.symbols || !imports.names) return 0;

  const auto replace = [&](const ElfW(Rela) *rows, size_t number) {
    for (size_t i = 0; i < number; ++i) {
      const auto type = static_cast<uint32_t>(ELF64_R_TYPE(rows[i].r_info));
      if (type != IMPORTS[0] && type != IMPORTS[1]) continue;
      const ElfW(Sym) &symbol = imports.symbols[ELF64_R_SYM(rows[i].r_info)];
      if (std::strcmp(imports.names + symbol.st_name, "sched_yield") != 0) continue;
      const ElfW(Addr) place = library->dlpi_addr + rows[i].r_offset;
      const bool fixed = place >= first_fixed && place < last_fixed;
      if (write_entry(reinterpret_cast<void **>(place), reinterpret_cast<void *>(&patient_yield), fixed))
        ++*static_cast<int *>(count);
    }
  };
  replace(imports.calls, imports.num_calls);
  replace(imports.data, imports.num_data);
  return 0;
}

}  // namespace
#endif

// How many of MindSpore's libraries wait patiently from now on; 0 where this platform cannot. Call it once MindSpore is
// imported; calling it again does no harm.
extern "C" __attribute__((visibility("default"))) int mindvideo_wait_patiently() {
  int count = 0;
#ifdef MINDVIDEO_CAN_REPLACE
  dl_iterate_phdr(replace_in, &count);
#endif
  return count;
}

// 1 where other processes work on the cores of this one, as of the last look.
extern "C" __attribute__((visibility("default"))) int mindvideo_others_work() {
#ifdef MINDVIDEO_CAN_REPLACE
  return others_work();
#else
  return 0;
#endif
}
