// Times scans of a backend over the C ABI: device time (by events), time from submit to answer, and
// the fraction of the measured copy bandwidth. With --check every shape is compared with the CPU
// backend first, hit for hit.
//   gpu_scan <backend library> [--config c] [--dtype f32] [--metric cosine] [--k 10] [--check]
//            [--rows n] [--dim d] [--queries 1,10,100,1000] [--repeat 30]
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cpu_backend.h"
#include "kernels.h"

namespace {

using Clock = std::chrono::steady_clock;
constexpr uint64_t kForever = UINT64_MAX;
constexpr uint64_t kSegmentBytes = uint64_t{64} << 20;
constexpr size_t kElementBytes[] = {4, 2, 2, 1};

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "gpu_scan: %s\n", what.c_str());
  std::exit(1);
}

struct Options {
  std::string library, config;
  uint32_t dtype = 0, metric = 0, k = 10, dim = 128, repeat = 30;
  uint64_t rows = 1'000'000;
  std::vector<uint32_t> queries = {1, 10, 100, 1000};
  bool check = false;
};

uint32_t index_of(const std::string& name, const std::vector<std::string>& names) {
  const auto it = std::find(names.begin(), names.end(), name);
  if (it == names.end()) die("unknown name " + name);
  return static_cast<uint32_t>(it - names.begin());
}

Options parse(int argc, char** argv) {
  if (argc < 2) die("which backend library?");
  Options o;
  o.library = argv[1];
  for (int i = 2; i < argc; ++i) {
    const std::string key = argv[i];
    if (key == "--check") {
      o.check = true;
      continue;
    }
    if (i + 1 == argc) die(key + " needs a value");
    const std::string value = argv[++i];
    if (key == "--config") o.config = value;
    else if (key == "--dtype") o.dtype = index_of(value, {"f32", "f16", "bf16", "i8"});
    else if (key == "--metric") o.metric = index_of(value, {"cosine", "dot", "l2", "l1", "linf"});
    else if (key == "--k") o.k = static_cast<uint32_t>(std::stoul(value));
    else if (key == "--dim") o.dim = static_cast<uint32_t>(std::stoul(value));
    else if (key == "--rows") o.rows = std::stoull(value);
    else if (key == "--repeat") o.repeat = static_cast<uint32_t>(std::stoul(value));
    else if (key == "--queries") {
      o.queries.clear();
      for (size_t from = 0; from < value.size();) {
        const size_t end = std::min(value.find(',', from), value.size());
        o.queries.push_back(static_cast<uint32_t>(std::stoul(value.substr(from, end - from))));
        from = end + 1;
      }
    } else die("unknown option " + key);
  }
  return o;
}

uint64_t mix(uint64_t z) {
  z += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

// About normal, the same for the same seed.
float normal(uint64_t seed) {
  const uint64_t bits = mix(seed);
  int64_t sum = 0;
  for (int i = 0; i < 4; ++i) sum += static_cast<int64_t>((bits >> (16 * i)) & 0xffff);
  return static_cast<float>(static_cast<double>(sum - 131070) / 37837.0);
}

struct Segment {
  std::unique_ptr<char, void (*)(void*)> data{nullptr, std::free};
  std::vector<float> scales, inv_norms;
  uint32_t rows = 0;
};

// Rows around 1000 centres, as embeddings are clustered; every row has its own noise.
std::vector<Segment> make_rows(const Options& o) {
  const size_t row_bytes = o.dim * kElementBytes[o.dtype];
  uint32_t capacity = 1024;
  while (capacity < 262144 && capacity * 2 * row_bytes <= kSegmentBytes) capacity *= 2;
  std::vector<float> centres(size_t{1000} * o.dim);
  for (size_t i = 0; i < centres.size(); ++i) centres[i] = normal(i);
  std::vector<Segment> out((o.rows + capacity - 1) / capacity);
  std::atomic<size_t> next{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t) {
    threads.emplace_back([&] {
      std::vector<float> values;
      for (size_t s; (s = next.fetch_add(1)) < out.size();) {
        Segment& segment = out[s];
        const uint64_t first = s * capacity;
        segment.rows = static_cast<uint32_t>(std::min<uint64_t>(capacity, o.rows - first));
        values.resize(size_t{segment.rows} * o.dim);
        for (uint32_t r = 0; r < segment.rows; ++r) {
          const uint64_t row = first + r;
          const float* centre = &centres[mix(row ^ 0xabcdefull) % 1000 * o.dim];
          for (uint32_t i = 0; i < o.dim; ++i) {
            values[size_t{r} * o.dim + i] =
                centre[i] + 0.7f * normal((row << 17) + i + (uint64_t{1} << 40));
          }
        }
        segment.data.reset(static_cast<char*>(
            std::aligned_alloc(64, (segment.rows * row_bytes + 127) / 64 * 64)));
        segment.inv_norms.resize(segment.rows);
        segment.scales.resize(segment.rows);
        (void)hive::cpu::best_kernels().encode[o.dtype](
            values.data(), segment.rows, o.dim, segment.data.get(),
            o.dtype == 3 ? segment.scales.data() : nullptr, segment.inv_norms.data());
      }
    });
  }
  for (std::thread& t : threads) t.join();
  return out;
}

struct Side {
  const hive_backend_table* table = nullptr;
  hive_device* device = nullptr;
  std::vector<hive_scan_segment> segments;
};

hive_error new_error() {
  hive_error e{};
  e.struct_size = sizeof e;
  return e;
}

Side open_side(hive_backend_open_fn open, const std::string& config) {
  Side side;
  hive_open_options options{};
  options.struct_size = sizeof options;
  options.config = config.c_str();
  hive_error e = new_error();
  if (open(&options, &side.table, &e) != HIVE_OK ||
      side.table->device_open(0, &options, &side.device, &e) != HIVE_OK) {
    die(e.message);
  }
  return side;
}

double upload(Side& side, const Options& o, const std::vector<Segment>& rows, bool in_place) {
  std::vector<hive_ticket*> tickets;
  hive_error e = new_error();
  const auto start = Clock::now();
  for (const Segment& s : rows) {
    hive_segment_desc desc{};
    desc.struct_size = sizeof desc;
    desc.dim = o.dim;
    desc.dtype = o.dtype;
    desc.capacity_rows = s.rows;
    if (in_place) {
      desc.host_data = s.data.get();
      desc.host_scales = s.scales.data();
      desc.host_inv_norms = s.inv_norms.data();
    }
    hive_scan_segment entry{};
    entry.row_count = s.rows;
    if (side.table->segment_create(side.device, &desc, &entry.segment, &e) != HIVE_OK) die(e.message);
    hive_rows r{};
    r.struct_size = sizeof r;
    r.count = s.rows;
    r.data = s.data.get();
    r.scales = s.scales.data();
    r.inv_norms = s.inv_norms.data();
    hive_ticket* ticket = nullptr;
    if (side.table->segment_append(side.device, entry.segment, &r, &ticket, &e) != HIVE_OK) die(e.message);
    tickets.push_back(ticket);
    side.segments.push_back(entry);
  }
  for (hive_ticket* t : tickets) {
    if (side.table->wait(side.device, t, kForever, &e) != HIVE_OK) die(e.message);
    side.table->ticket_free(side.device, t);
  }
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Answer {
  std::vector<hive_hit> hits;
  std::vector<uint32_t> counts;
};

double run(const Side& side, const Options& o, const std::vector<float>& queries,
           const std::vector<float>& inv, uint32_t count, Answer* answer) {
  answer->hits.resize(size_t{count} * o.k);
  answer->counts.resize(count);
  hive_scan_job job{};
  job.head.struct_size = sizeof job;
  job.head.op = HIVE_OP_SCAN_TOPK;
  job.metric = o.metric;
  job.dim = o.dim;
  job.query_count = count;
  job.k = o.k;
  job.queries = queries.data();
  job.query_inv_norms = inv.data();
  job.segment_count = static_cast<uint32_t>(side.segments.size());
  job.segment_size = sizeof(hive_scan_segment);
  job.segments = side.segments.data();
  job.hits = answer->hits.data();
  job.hit_counts = answer->counts.data();
  hive_error e = new_error();
  hive_ticket* ticket = nullptr;
  const auto start = Clock::now();
  if (side.table->submit(side.device, &job.head, &ticket, &e) != HIVE_OK) die(e.message);
  if (side.table->wait(side.device, ticket, kForever, &e) != HIVE_OK) die(e.message);
  const double micros = std::chrono::duration<double, std::micro>(Clock::now() - start).count();
  side.table->ticket_free(side.device, ticket);
  return micros;
}

double device_micros(const Side& side) {
  hive_health health{};
  health.struct_size = sizeof health;
  side.table->health(side.device, &health);
  const char* colon = std::strchr(health.detail, ':');
  return colon == nullptr ? 0 : std::atof(colon + 1);
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

void check(const Side& side, const Side& cpu, const Options& o, const std::vector<float>& queries,
           const std::vector<float>& inv, uint32_t count) {
  Answer got, want;
  run(side, o, queries, inv, count, &got);
  run(cpu, o, queries, inv, count, &want);
  uint64_t wrong = 0;
  for (uint32_t q = 0; q < count; ++q) {
    if (got.counts[q] != want.counts[q]) ++wrong;
    for (uint32_t i = 0; i < want.counts[q]; ++i) {
      const hive_hit& a = got.hits[size_t{q} * o.k + i];
      const hive_hit& b = want.hits[size_t{q} * o.k + i];
      if (a.slot != b.slot || a.segment != b.segment || std::memcmp(&a.value, &b.value, 4) != 0) ++wrong;
    }
  }
  std::printf("check: %u queries, %llu hits differ from the CPU backend\n", count,
              static_cast<unsigned long long>(wrong));
  if (wrong != 0) std::exit(2);
}

}  // namespace

int main(int argc, char** argv) {
  const Options o = parse(argc, argv);
  void* library = dlopen(o.library.c_str(), RTLD_NOW);
  if (library == nullptr) die(dlerror());
  const auto open = reinterpret_cast<hive_backend_open_fn>(dlsym(library, "hive_backend_open"));
  Side side = open_side(open, o.config.empty() ? "timing=1" : "timing=1;" + o.config);
  const std::vector<Segment> rows = make_rows(o);
  const double bytes = static_cast<double>(o.rows) * o.dim * kElementBytes[o.dtype];
  const double cold = upload(side, o, rows, false);
  double copy = 0, pinned = 0;
  using Measure = hive_status (*)(hive_device*, double*, double*, hive_error*);
  if (const auto f = reinterpret_cast<Measure>(dlsym(library, "hive_cuda_measure"))) {
    hive_error e = new_error();
    if (f(side.device, &copy, &pinned, &e) != HIVE_OK) die(e.message);
  }
  std::printf("# %llu x %u dtype %u metric %u k %u; copy %.0f GB/s, pinned to device %.1f GB/s, "
              "load %.1f GB/s\n", static_cast<unsigned long long>(o.rows), o.dim, o.dtype, o.metric,
              o.k, copy / 1e9, pinned / 1e9, bytes / cold / 1e9);
  const uint32_t most = *std::max_element(o.queries.begin(), o.queries.end());
  std::vector<float> queries(size_t{most} * o.dim), inv(most);
  for (uint32_t q = 0; q < most; ++q) {
    double sum = 0;
    for (uint32_t i = 0; i < o.dim; ++i) {
      float& x = queries[size_t{q} * o.dim + i];
      x = normal(mix(q) % 1000 * o.dim + i) + 0.7f * normal((uint64_t{1} << 60) + q * 65536ull + i);
      sum += static_cast<double>(x) * x;
    }
    inv[q] = static_cast<float>(1 / std::sqrt(sum));
  }
  if (o.check) {
    Side cpu = open_side(hive_cpu_backend_open, "");
    upload(cpu, o, rows, true);
    for (const uint32_t count : o.queries) check(side, cpu, o, queries, inv, std::min(count, 100u));
  }
  std::printf("%8s %12s %12s %12s %10s\n", "queries", "device us", "wall us", "wall p99", "of copy");
  for (const uint32_t count : o.queries) {
    std::vector<double> device, wall;
    Answer answer;
    for (uint32_t i = 0; i < o.repeat + 5; ++i) {
      const double w = run(side, o, queries, inv, count, &answer);
      if (i < 5) continue;
      wall.push_back(w);
      device.push_back(device_micros(side));
    }
    std::sort(wall.begin(), wall.end());
    std::printf("%8u %12.1f %12.1f %12.1f %9.1f%%\n", count, median(device), median(wall),
                wall[wall.size() * 99 / 100], copy > 0 ? 100 * bytes / copy / (median(device) * 1e-6) : 0.0);
  }
  side.table->device_close(side.device);
  return 0;
}
