// The harness of the conformance suite: opens backends by name, puts rows into them over the C ABI
// and compares what they answer with the oracle. A new backend needs no code here.
//
//   HIVE_TEST_BACKENDS  comma-separated; an entry is a name of hive_backends.def or the path of a
//                       library, optionally followed by ":" and settings ("cpu:isa=avx2",
//                       "fault:inner=cpu;mode=sim"). "cpu" stands for every instruction set.
//   HIVE_TEST_SHARE     share of the matrix that is run, 0..1
//   HIVE_TEST_SEED      which share
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hive_backend.h"

namespace hive::test {

// ---- reporting -----------------------------------------------------------------------------

// A line for the end of the report ("conformance ...", "skipped ...").
void note(const std::string& line);
const std::vector<std::string>& notes();

// ---- random numbers, the same everywhere ---------------------------------------------------

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next();
  uint32_t below(uint32_t limit) { return static_cast<uint32_t>(next() % limit); }
  double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  // About normally distributed, standard deviation 1.
  float normal();

 private:
  uint64_t state_;
};

uint64_t mix(uint64_t a, uint64_t b);

// ---- backends ------------------------------------------------------------------------------

struct Backend {
  std::string spec;  // as written in HIVE_TEST_BACKENDS
  std::string config;
  const hive_backend_table* table = nullptr;
  const hive_backend_table* inner = nullptr;
  hive_backend_open_fn open = nullptr;
  // These compute by the definition itself, so their values have to be equal to the bit.
  bool exact = false;

  hive_open_options options(uint32_t host_threads = 0) const;
};

// Opens the backend of one entry. False, with the reason, when it is not available.
bool load_backend(const std::string& spec, Backend* out, std::string* reason);

// The backends under test. Those that are not available are noted as skipped, once.
const std::vector<Backend>& backends_under_test();

// Instruction sets of the CPU backend, available or not.
const std::vector<std::string>& cpu_isas();

class OpenDevice {
 public:
  OpenDevice() = default;
  explicit OpenDevice(const Backend& backend, uint32_t host_threads = 0);
  ~OpenDevice();
  OpenDevice(const OpenDevice&) = delete;
  OpenDevice& operator=(const OpenDevice&) = delete;

  void close();
  explicit operator bool() const { return handle != nullptr; }
  bool has(uint32_t cap) const { return (info.caps & cap) != 0; }
  hive_health health() const;

  const hive_backend_table* table = nullptr;
  hive_device* handle = nullptr;
  hive_device_info info{};
  std::string problem;
};

inline hive_error new_error() {
  hive_error error{};
  error.struct_size = sizeof error;
  return error;
}

// ---- data ----------------------------------------------------------------------------------

// 64-byte aligned bytes.
class Area {
 public:
  Area() = default;
  explicit Area(size_t bytes);
  char* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(char* p) const;
  };
  std::unique_ptr<char, Free> data_;
  size_t size_ = 0;
};

size_t element_bytes(uint32_t dtype);
bool has_scale(uint32_t dtype);
float inverse_norm(const float* row, uint32_t dim);

// Rows as they are stored, and what they mean.
struct Rows {
  uint32_t dtype = 0;
  uint32_t dim = 0;
  uint32_t count = 0;
  Area data;
  std::vector<float> scales;
  std::vector<float> inv_norms;
  std::vector<float> decoded;

  size_t row_bytes() const { return element_bytes(dtype) * dim; }
};

// Stores source ([count][dim]) in a dtype.
Rows store_rows(uint32_t dtype, uint32_t dim, const std::vector<float>& source);

struct BitSet {
  std::vector<uint32_t> words;
  uint32_t count = 0;
  bool test(uint32_t slot) const {
    return slot >= count || ((words[slot / 32] >> (slot % 32)) & 1u) != 0;
  }
};

struct CaseSegment {
  Rows rows;  // all that are appended
  uint32_t row_count = 0;
  uint32_t capacity = 1;
  std::optional<BitSet> live;
  std::optional<BitSet> filter;

  bool searched(uint32_t slot) const {
    return (!live || live->test(slot)) && (!filter || filter->test(slot));
  }
};

struct ScanCase {
  std::string name;
  uint32_t metric = 0;
  uint32_t dtype = 0;
  uint32_t dim = 1;
  uint32_t query_count = 1;
  uint32_t k = 1;
  std::vector<float> queries;
  std::vector<float> query_inv_norms;
  std::vector<CaseSegment> segments;

  void set_queries(std::vector<float> values);
  void add_segment(const std::vector<float>& rows);
  uint64_t rows_searched() const;
};

struct Answer {
  bool flushes = false;  // the device may take subnormal numbers for 0
  hive_status status = HIVE_PENDING;
  std::string problem;
  std::vector<hive_hit> hits;
  std::vector<uint32_t> hit_counts;
};

// [query] the closest rows by the oracle.
using Expected = std::vector<std::vector<hive_hit>>;
Expected expect(const ScanCase& c);

// A case's rows and bitsets on a device.
class Uploaded {
 public:
  // Appends in parts; with late_wait the append tickets are still open when this returns.
  Uploaded(OpenDevice& device, const ScanCase& c, bool late_wait = false);
  ~Uploaded();
  Uploaded(const Uploaded&) = delete;
  Uploaded& operator=(const Uploaded&) = delete;

  // Waits for the appends; afterwards the memory they read from is overwritten.
  void settle();
  const std::vector<hive_scan_segment>& segments() const { return list_; }

  std::string problem;

 private:
  struct Place {
    Area data;
    std::vector<float> scales;
    std::vector<float> inv_norms;
  };
  bool upload(const CaseSegment& s, uint32_t parts);
  bool append(hive_segment* segment, const CaseSegment& s, uint32_t first, uint32_t count,
              const Place& from);
  bool make_bits(const std::optional<BitSet>& bits, const hive_bits** out);

  OpenDevice& device_;
  std::vector<std::unique_ptr<Place>> places_;
  std::vector<hive_scan_segment> list_;
  std::vector<hive_bits*> bits_;
  std::vector<hive_ticket*> tickets_;
};

// A job over uploaded rows that fills answer. All three have to outlive its ticket.
hive_scan_job make_job(const ScanCase& c, const Uploaded& uploaded, Answer* answer);

// Uploads, runs and frees; checks the health counters as well.
Answer run_case(OpenDevice& device, const ScanCase& c, bool late_wait = false);
// Submits a job, waits for it and frees the ticket.
hive_status run_job(OpenDevice& device, const hive_scan_job& job, std::string* problem = nullptr);

// "" when the answer is right, otherwise the first thing that is wrong.
std::string compare(const ScanCase& c, const Expected& expected, const Answer& answer, bool exact);

// Runs a case on a device and says what is wrong with the answer, with the case's name.
std::string verify(OpenDevice& device, const ScanCase& c, bool exact);

// A small case for tests that are about something else than values.
ScanCase simple_case(uint32_t rows = 100, uint32_t dim = 32, uint32_t query_count = 1,
                     uint32_t k = 10, uint32_t metric = HIVE_METRIC_L2,
                     uint32_t dtype = HIVE_DTYPE_F32, uint64_t seed = 1);

}  // namespace hive::test
