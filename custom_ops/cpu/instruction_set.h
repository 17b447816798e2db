// Which instructions this process uses: the best that the processor has, or fewer where MINDVIDEO_CPU_ISA says
// "plain", "avx2", "avx512" or "avx512_bf16" (for tests and measurements).
#pragma once
#include <cstdlib>
#include <cstring>

#ifdef MINDVIDEO_HALF
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace mindvideo {

enum class InstructionSet { plain, avx2, avx512 };

inline InstructionSet best_instruction_set() {
#if defined(MINDVIDEO_X86) && defined(__GNUC__)
  const char *limit = std::getenv("MINDVIDEO_CPU_ISA");
  const bool plain = limit && std::strcmp(limit, "plain") == 0, avx2 = limit && std::strcmp(limit, "avx2") == 0;
  __builtin_cpu_init();
  if (!plain && !avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
    return InstructionSet::avx512;
  if (!plain && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return InstructionSet::avx2;
#endif
  return InstructionSet::plain;
}

#ifdef MINDVIDEO_HALF
enum class HalfInstructions { none, avx512_bf16, amx };

// Registers as large as tiles are given to a process that asks for them, since Linux 5.16.
inline bool may_use_tiles() {
#ifdef __linux__
  constexpr long kAskForRegisters = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kAskForRegisters, kTileData) == 0;
#else
  return false;
#endif
}

inline HalfInstructions best_half_instructions() {
  const char *limit = std::getenv("MINDVIDEO_CPU_ISA");
  const bool limited = limit && *limit, without_tiles = limited && std::strcmp(limit, "avx512_bf16") == 0;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (best_instruction_set() != InstructionSet::avx512 || (limited && !without_tiles)) return HalfInstructions::none;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a >> 5 & 1)) return HalfInstructions::none;  // AVX512-BF16
  __get_cpuid_count(7, 0, &a, &b, &c, &d);
  const bool has_tiles = (d >> 22 & 1) && (d >> 24 & 1);  // AMX-BF16, AMX-TILE
  return has_tiles && !without_tiles && may_use_tiles() ? HalfInstructions::amx : HalfInstructions::avx512_bf16;
}
#endif

}  // namespace mindvideo
