// What this machine offers: instruction sets, threads, memory, a name.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "cpu_backend.h"
#include "cpu_host.h"

#if defined(__linux__)
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#include <unistd.h>
#endif

namespace hive::cpu {
namespace {

bool has_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
#else
  return false;
#endif
}

bool has_avx512() {
#if defined(__x86_64__)
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
#else
  return false;
#endif
}

// cgroup v2 CPU quota in whole threads, at least 1; 0 = none.
uint32_t cgroup_threads() {
#if defined(__linux__)
  std::FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r");
  if (file == nullptr) return 0;
  char quota[32] = {};
  double period = 0;
  const int read = std::fscanf(file, "%31s %lf", quota, &period);
  std::fclose(file);
  if (read != 2 || std::strcmp(quota, "max") == 0 || period <= 0) return 0;
  const double threads = std::strtod(quota, nullptr) / period;
  return threads < 1 ? 1 : static_cast<uint32_t>(threads + 0.5);
#else
  return 0;
#endif
}

}  // namespace

const CpuKernels* kernels_by_name(const char* name) {
  const std::string wanted = name;
  if (wanted == "scalar") return scalar_kernels();
  if (wanted == "avx2") return has_avx2() ? avx2_kernels() : nullptr;
  if (wanted == "avx512") return has_avx512() ? avx512_kernels() : nullptr;
  if (wanted == "neon") return neon_kernels();
  return nullptr;
}

const CpuKernels& best_kernels() {
  static const CpuKernels* const best = [] {
    for (const char* name : {"avx512", "avx2", "neon"}) {
      if (const CpuKernels* found = kernels_by_name(name)) return found;
    }
    return scalar_kernels();
  }();
  return *best;
}

std::string available_kernels() {
  std::string out;
  for (const char* name : {"avx512", "avx2", "neon", "scalar"}) {
    if (kernels_by_name(name) == nullptr) continue;
    if (!out.empty()) out += ", ";
    out += name;
  }
  return out;
}

void give_way() {
#if defined(__linux__)
  // Linux keeps a nice value per thread. A failure only means that nothing changes.
  constexpr int kNice = 2;
  const auto self = static_cast<id_t>(syscall(SYS_gettid));
  (void)setpriority(PRIO_PROCESS, self, getpriority(PRIO_PROCESS, self) + kNice);
#endif
}

uint32_t usable_threads() {
  uint32_t count = std::max(1u, std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    count = static_cast<uint32_t>(std::max(1, CPU_COUNT(&set)));
  }
#endif
  const uint32_t quota = cgroup_threads();
  return quota > 0 && quota < count ? quota : count;
}

std::string cpu_name() {
#if defined(__linux__)
  if (std::FILE* file = std::fopen("/proc/cpuinfo", "r")) {
    char line[256];
    while (std::fgets(line, sizeof line, file) != nullptr) {
      const char* colon = std::strchr(line, ':');
      if (std::strncmp(line, "model name", 10) != 0 || colon == nullptr) continue;
      std::string name = colon + 1;
      name.erase(0, name.find_first_not_of(" \t"));
      name.erase(name.find_last_not_of(" \t\n") + 1);
      std::fclose(file);
      return name;
    }
    std::fclose(file);
  }
#elif defined(__APPLE__)
  char name[128] = {};
  size_t size = sizeof name;
  if (sysctlbyname("machdep.cpu.brand_string", name, &size, nullptr, 0) == 0) return name;
#endif
  return "CPU";
}

uint64_t memory_total_bytes() {
#if defined(__linux__) || defined(__APPLE__)
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
         static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
#else
  return 0;
#endif
}

uint64_t memory_free_bytes() {
#if defined(__linux__)
  // MemAvailable counts what the kernel can reclaim; free pages alone would say far too little.
  if (std::FILE* file = std::fopen("/proc/meminfo", "r")) {
    char line[128];
    unsigned long long kilobytes = 0;
    while (std::fgets(line, sizeof line, file) != nullptr) {
      if (std::sscanf(line, "MemAvailable: %llu", &kilobytes) == 1) break;
    }
    std::fclose(file);
    if (kilobytes > 0) return kilobytes * 1024;
  }
#endif
  return memory_total_bytes();
}

}  // namespace hive::cpu
