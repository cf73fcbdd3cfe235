// Measures what this machine can do at most, so that benchmarks can report a fraction of it.
//   floors <megabytes> [<megabytes> ...]     prints one JSON object
// read:  GB/s of summing a float32 buffer of that size, for 1..all threads, best of several passes
// fma:   GFLOP/s of independent fused multiply-adds in registers, for 1..all threads
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

using Vec = float __attribute__((vector_size(64)));
volatile float g_sink;

double seconds() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

float sum(const float* data, size_t count) {
  Vec acc[8] = {};
  const auto* p = reinterpret_cast<const Vec*>(data);
  const size_t steps = count / 128;
  for (size_t i = 0; i < steps; ++i) {
    for (int lane = 0; lane < 8; ++lane) acc[lane] += p[i * 8 + lane];
  }
  for (int lane = 1; lane < 8; ++lane) acc[0] += acc[lane];
  float total = 0;
  for (int i = 0; i < 16; ++i) total += acc[0][i];
  return total;
}

template <class F>
double run_threads(int threads, F body) {
  std::vector<std::thread> pool;
  const double start = seconds();
  for (int t = 0; t < threads; ++t) pool.emplace_back([&body, t] { body(t); });
  for (auto& thread : pool) thread.join();
  return seconds() - start;
}

double best_read(const float* data, size_t floats, int threads) {
  const size_t share = floats / static_cast<size_t>(threads) / 128 * 128;
  const int passes = std::max(1, static_cast<int>((size_t{1} << 28) / (floats * 4)));
  double best = 0;
  for (int round = 0; round < 9; ++round) {
    const double elapsed = run_threads(threads, [&](int t) {
      float x = 0;
      for (int p = 0; p < passes; ++p) x += sum(data + share * static_cast<size_t>(t), share);
      g_sink = x;
    });
    best = std::max(best, 4.0 * static_cast<double>(share) * threads * passes / elapsed / 1e9);
  }
  return best;
}

double best_fma(int threads) {
  constexpr long kSteps = 8'000'000;
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    const double elapsed = run_threads(threads, [](int t) {
      Vec acc[16], x, y;
      for (int i = 0; i < 16; ++i) {
        x[i] = 1.0f + static_cast<float>(t);
        y[i] = 0.5f;
        for (auto& a : acc) a[i] = static_cast<float>(i);
      }
      for (long step = 0; step < kSteps; ++step) {
        for (auto& a : acc) a = a * y + x;
        asm volatile("" : "+v"(x), "+v"(y));
      }
      for (int k = 1; k < 16; ++k) acc[0] += acc[k];
      g_sink = acc[0][0];
    });
    best = std::max(best, 2.0 * 16 * 16 * kSteps * threads / elapsed / 1e9);
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  const int max_threads = std::max(1u, std::thread::hardware_concurrency());
  std::printf("{\"threads\":%d,\"read\":[", max_threads);
  for (int arg = 1; arg < argc; ++arg) {
    const double megabytes = std::atof(argv[arg]);
    const size_t floats = static_cast<size_t>(megabytes * 1e6 / 4);
    void* memory = mmap(nullptr, floats * 4 + 64, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return 1;
    madvise(memory, floats * 4, MADV_HUGEPAGE);
    auto* data = static_cast<float*>(memory);
    for (size_t i = 0; i < floats; ++i) data[i] = static_cast<float>(i & 7);
    for (int threads = 1; threads <= max_threads; threads *= 2) {
      std::printf("%s{\"megabytes\":%g,\"threads\":%d,\"gbps\":%.1f}",
                  arg == 1 && threads == 1 ? "" : ",", megabytes, threads,
                  best_read(data, floats, threads));
    }
    munmap(memory, floats * 4 + 64);
  }
  std::printf("],\"fma\":[");
  for (int threads = 1; threads <= max_threads; threads *= 2) {
    std::printf("%s{\"threads\":%d,\"gflops\":%.0f}", threads == 1 ? "" : ",", threads,
                best_fma(threads));
  }
  std::printf("]}\n");
  return 0;
}
