// Which instructions this process uses: the best that the processor has, or fewer where MINDVIDEO_CPU_ISA says
// "plain" or "avx2" (for tests and measurements).
#pragma once
#include <cstdlib>
#include <cstring>

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

}  // namespace mindvideo
