// One backend's exact scan, through the C ABI: first that it answers like the CPU backend, then how
// long it takes from submit to the end of wait, as a fraction of the bytes' time at a bandwidth.
//   backend_scan <library> <settings> <copy GB/s> <case> [<case> ...]
//   case: <rows>x<dim>:<dtype>:<metric>:<queries>:<k>      e.g. 1000000x128:f32:cosine:1:10
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "cpu_backend.h"
#include "kernels.h"

namespace {

constexpr uint64_t kSegmentBytes = uint64_t{64} << 20;
constexpr size_t kRounds = 100;
// Cards need a while to leave their idle clocks.
constexpr double kWarmSeconds = 0.8;
constexpr double kBudgetSeconds = 4;  // of timing, per case

const char* const kDtypes[] = {"f32", "f16", "bf16", "i8"};
const char* const kMetrics[] = {"cosine", "dot", "l2", "l1", "linf"};
constexpr size_t kElement[] = {4, 2, 2, 1};

double seconds() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

void require(bool good, const std::string& what) {
  if (good) return;
  std::printf("FAILED: %s\n", what.c_str());
  std::exit(1);
}

struct Case {
  std::string text;
  uint64_t rows = 0;
  uint32_t dim = 0, dtype = 0, metric = 0, queries = 0, k = 0;
};

template <size_t N>
uint32_t index_of(const char* name, const char* const (&names)[N]) {
  for (uint32_t i = 0; i < N; ++i) {
    if (std::strcmp(name, names[i]) == 0) return i;
  }
  require(false, std::string("unknown name ") + name);
  return 0;
}

Case parse(const char* text) {
  Case c;
  c.text = text;
  char dtype[8], metric[8];
  unsigned long long rows = 0;
  const int got = std::sscanf(text, "%llux%u:%7[^:]:%7[^:]:%u:%u", &rows, &c.dim, dtype, metric,
                              &c.queries, &c.k);
  require(got == 6, std::string("case ") + text);
  c.rows = rows;
  c.dtype = index_of(dtype, kDtypes);
  c.metric = index_of(metric, kMetrics);
  return c;
}

// Sums of uniform numbers, different for every row, quick to make on all threads.
void fill(float* to, uint64_t count, uint64_t seed) {
  const uint32_t threads = std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::thread> team;
  for (uint32_t t = 0; t < threads; ++t) {
    team.emplace_back([=] {
      for (uint64_t i = count * t / threads; i < count * (t + 1) / threads; ++i) {
        uint64_t x = (seed + i) * 0x9e3779b97f4a7c15ull;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
        const auto a = static_cast<int32_t>(x & 0xffff) + static_cast<int32_t>((x >> 16) & 0xffff);
        const auto b = static_cast<int32_t>((x >> 32) & 0xffff) + static_cast<int32_t>(x >> 48);
        to[i] = static_cast<float>(a + b - 131070) * (1.0f / 37837.0f);
      }
    });
  }
  for (std::thread& thread : team) thread.join();
}

// The rows of a case as they are stored, in segments as the core cuts them.
struct Data {
  explicit Data(const Case& c) : dim(c.dim), dtype(c.dtype) {
    std::vector<float> source(c.rows * c.dim);
    fill(source.data(), source.size(), 1);
    bytes.resize(c.rows * c.dim * kElement[c.dtype] + 64);
    inv_norms.resize(c.rows);
    scales.resize(c.rows);
    const uint32_t threads = std::max(1u, std::thread::hardware_concurrency());
    std::vector<std::thread> team;
    for (uint32_t t = 0; t < threads; ++t) {
      team.emplace_back([&, t] {
        const uint64_t from = c.rows * t / threads;
        const uint64_t to = c.rows * (t + 1) / threads;
        (void)hive::cpu::best_kernels().encode[c.dtype](
            &source[from * c.dim], static_cast<uint32_t>(to - from), c.dim,
            &bytes[from * row_bytes()], &scales[from], &inv_norms[from]);
      });
    }
    for (std::thread& thread : team) thread.join();
    uint64_t capacity = 1024;
    while (capacity < 262144 && capacity * 2 * row_bytes() <= kSegmentBytes) capacity *= 2;
    for (uint64_t first = 0; first < c.rows; first += capacity) {
      parts.emplace_back(first, static_cast<uint32_t>(std::min(capacity, c.rows - first)));
    }
  }
  uint64_t row_bytes() const { return uint64_t{dim} * kElement[dtype]; }

  uint32_t dim, dtype;
  std::vector<char> bytes;
  std::vector<float> inv_norms, scales;
  std::vector<std::pair<uint64_t, uint32_t>> parts;
};

struct Loaded {
  const hive_backend_table* table;
  hive_device* device;
  std::vector<hive_scan_segment> segments;
  double upload_seconds = 0;
};

void upload(Loaded* to, const Data& data) {
  const double start = seconds();
  std::vector<hive_ticket*> tickets;
  hive_error error{};
  error.struct_size = sizeof error;
  for (const auto& [first, count] : data.parts) {
    hive_segment_desc desc{};
    desc.struct_size = sizeof desc;
    desc.dim = data.dim;
    desc.dtype = data.dtype;
    desc.capacity_rows = count;
    hive_scan_segment entry{};
    require(to->table->segment_create(to->device, &desc, &entry.segment, &error) == HIVE_OK,
            error.message);
    hive_rows rows{};
    rows.struct_size = sizeof rows;
    rows.count = count;
    rows.data = &data.bytes[first * data.row_bytes()];
    rows.scales = &data.scales[first];
    rows.inv_norms = &data.inv_norms[first];
    hive_ticket* ticket = nullptr;
    require(to->table->segment_append(to->device, entry.segment, &rows, &ticket, &error) == HIVE_OK,
            error.message);
    tickets.push_back(ticket);
    entry.row_count = count;
    to->segments.push_back(entry);
  }
  for (hive_ticket* ticket : tickets) {
    require(to->table->wait(to->device, ticket, UINT64_MAX, &error) == HIVE_OK, error.message);
    to->table->ticket_free(to->device, ticket);
  }
  to->upload_seconds = seconds() - start;
}

void unload(Loaded* from) {
  for (const hive_scan_segment& s : from->segments) from->table->segment_free(from->device, s.segment);
  from->segments.clear();
}

struct Answer {
  std::vector<hive_hit> hits;
  std::vector<uint32_t> counts;
};

double run(const Loaded& on, const Case& c, const std::vector<float>& queries, Answer* answer) {
  const std::vector<float> inv_norms(c.queries, 1.0f);
  answer->hits.resize(size_t{c.queries} * c.k);
  answer->counts.resize(c.queries);
  hive_scan_job job{};
  job.head.struct_size = sizeof job;
  job.head.op = HIVE_OP_SCAN_TOPK;
  job.metric = c.metric;
  job.dim = c.dim;
  job.query_count = c.queries;
  job.k = c.k;
  job.queries = queries.data();
  job.query_inv_norms = inv_norms.data();
  job.segment_count = static_cast<uint32_t>(on.segments.size());
  job.segment_size = sizeof(hive_scan_segment);
  job.segments = on.segments.data();
  job.hits = answer->hits.data();
  job.hit_counts = answer->counts.data();
  hive_error error{};
  error.struct_size = sizeof error;
  hive_ticket* ticket = nullptr;
  const double start = seconds();
  require(on.table->submit(on.device, &job.head, &ticket, &error) == HIVE_OK, error.message);
  const hive_status status = on.table->wait(on.device, ticket, UINT64_MAX, &error);
  const double took = seconds() - start;
  on.table->ticket_free(on.device, ticket);
  require(status == HIVE_OK, error.message);
  return took;
}

// Same rows in the same order; where two differ, their values are too close to tell apart.
void check_same(const Case& c, const Answer& got, const Answer& expected) {
  uint64_t swapped = 0;
  for (size_t i = 0; i < expected.hits.size(); ++i) {
    const hive_hit& a = got.hits[i];
    const hive_hit& b = expected.hits[i];
    const double scale = std::max(1.0, static_cast<double>(std::fabs(b.value)));
    require(std::fabs(a.value - b.value) <= 1e-5 * scale * 8, c.text + ": a value differs");
    if (a.segment != b.segment || a.slot != b.slot) ++swapped;
  }
  require(swapped * 1000 <= expected.hits.size(), c.text + ": rows differ");
}

void measure(const Case& c, const Loaded& gpu, const Loaded& cpu, const Data& data, double copy) {
  std::vector<float> queries(size_t{c.queries} * c.dim);
  fill(queries.data(), queries.size(), 0x123456789);
  Case few = c;
  few.queries = std::min(c.queries, 4u);
  Answer got, expected;
  (void)run(cpu, few, queries, &expected);
  (void)run(gpu, few, queries, &got);
  check_same(few, got, expected);
  // The batch gives what single queries give, to the bit.
  Answer all;
  (void)run(gpu, c, queries, &all);
  require(std::memcmp(all.hits.data(), got.hits.data(), got.hits.size() * sizeof(hive_hit)) == 0,
          c.text + ": a batch answers differently");
  std::vector<double> times;
  for (const double until = seconds() + kWarmSeconds; seconds() < until;) {
    (void)run(gpu, c, queries, &all);
  }
  for (const double until = seconds() + kBudgetSeconds; times.size() < kRounds;) {
    times.push_back(run(gpu, c, queries, &all));
    if (times.size() >= 3 && seconds() > until) break;
  }
  std::sort(times.begin(), times.end());
  const double bytes = static_cast<double>(c.rows) * static_cast<double>(data.row_bytes());
  const double floor = bytes / (copy * 1e9);
  const double median = times[times.size() / 2];
  std::printf("%-34s %9.4f ms  best %9.4f  p90 %9.4f  floor %8.4f  %5.1f %%  %7.0f queries/s\n",
              c.text.c_str(), median * 1e3, times[0] * 1e3, times[times.size() * 9 / 10] * 1e3,
              floor * 1e3, 100 * floor / median, c.queries / median);
  std::fflush(stdout);
}

hive_device* open_on(const hive_backend_table* table, const hive_open_options& options) {
  hive_device* device = nullptr;
  hive_error error{};
  error.struct_size = sizeof error;
  require(table->device_open(0, &options, &device, &error) == HIVE_OK, error.message);
  return device;
}

}  // namespace

int main(int argc, char** argv) {
  require(argc >= 5, "usage: backend_scan <library> <settings> <copy GB/s> <case> ...");
  void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  require(library != nullptr, "the library cannot be loaded");
  const auto open = reinterpret_cast<hive_backend_open_fn>(dlsym(library, "hive_backend_open"));
  hive_open_options options{};
  options.struct_size = sizeof options;
  options.config = argv[2];
  hive_error error{};
  error.struct_size = sizeof error;
  Loaded gpu{}, cpu{};
  require(open(&options, &gpu.table, &error) == HIVE_OK, error.message);
  gpu.device = open_on(gpu.table, options);
  hive_open_options plain{};
  plain.struct_size = sizeof plain;
  require(hive_cpu_backend_open(&plain, &cpu.table, &error) == HIVE_OK, error.message);
  cpu.device = open_on(cpu.table, plain);
  hive_device_info info{};
  info.struct_size = sizeof info;
  require(gpu.table->device_info(0, &info, &error) == HIVE_OK, error.message);
  const double copy = std::atof(argv[3]);
  std::printf("%s, %s; median from submit to the end of wait; floor: bytes at %.0f GB/s\n", info.name,
              info.driver, copy);
  std::string shape;
  std::unique_ptr<Data> data;
  for (int i = 4; i < argc; ++i) {
    const Case c = parse(argv[i]);
    const std::string wanted = c.text.substr(0, c.text.find(':', c.text.find(':') + 1));
    if (wanted != shape) {
      unload(&gpu);
      unload(&cpu);
      data = std::make_unique<Data>(c);
      upload(&gpu, *data);
      upload(&cpu, *data);
      shape = wanted;
      std::printf("upload %s: %.2f GB/s\n", shape.c_str(),
                  static_cast<double>(c.rows * data->row_bytes()) / gpu.upload_seconds / 1e9);
    }
    measure(c, gpu, cpu, *data, copy);
  }
  unload(&gpu);
  unload(&cpu);
  gpu.table->device_close(gpu.device);
  cpu.table->device_close(cpu.device);
  return 0;
}
