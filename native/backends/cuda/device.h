// One opened device: its context, kernels, memory, and the jobs under way.
//
// Jobs are launched by the thread that submits them when a slot (a stream with its scratch memory)
// is free, and otherwise by whoever polls or waits next: waiting threads move all jobs along, not
// only their own. A job's results appear in pinned host memory followed by a flag, so waiting needs
// no call of the driver.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <optional>

#include "images.h"
#include "upload.h"

namespace hive::cuda {

struct Config {
  std::string driver;       // path of the driver library; "" = the system's
  uint32_t timeout_ms = 30'000;
  bool timing = false;      // health's detail tells the device time of the last job
  bool matrix = true;       // use the matrix units where they pay
  uint32_t blocks = 0;      // blocks of a scan; 0 = all multiprocessors but one
};
// Throws INVALID_ARGUMENT for anything unknown.
Config parse_config(const hive_open_options* options);

using Clock = std::chrono::steady_clock;

// How a group of queries is answered.
enum class Path : uint32_t { one, eight, matrix16, matrix64, matrix128, dense };

// Queries that share one launch after another on a slot, with one flag at the end.
struct Wave {
  Path path = Path::one;
  std::vector<uint32_t> queries;  // of the job
};

struct Slot;

struct ScanTicket : hive_ticket {
  hive_scan_job job{};
  std::vector<gpu::SegmentRef> segments;
  std::vector<uint32_t> numbers;  // [segments] index in the job
  std::vector<hive_segment*> sources;
  uint32_t dtype = 0;
  uint32_t tiles = 0;
  uint64_t rows = 0;
  bool has_bits = false;
  std::deque<Wave> waves;
  std::vector<uint32_t> overflowed;
  uint64_t scanned = 0;
  bool counted = false;
  std::atomic<bool> cancelled{false};
  Clock::time_point started{};
  float device_micros = 0;
  Slot* slot = nullptr;
};

struct Slot {
  Stream stream = nullptr;
  Event begin = nullptr;
  Event end = nullptr;
  Pinned input;    // segment table, queries and their terms
  Pinned output;   // hits, counts
  Pinned words;    // flag, cancel, scanned
  Scratch staged;  // input, on the device
  Scratch control;     // maxima, counts, published, done, scanned: zero between launches
  Scratch candidates;
  Scratch keys;
  Scratch bins;
  uint32_t sequence = 0;
  ScanTicket* ticket = nullptr;
  Wave wave;
  bool dirty = false;  // control holds what a failed launch left
  bool stuck = false;  // given up after a timeout; its kernels may still run
  Clock::time_point launched{};
  Clock::time_point looked{};
};

class Device {
 public:
  Device(const Driver& driver, uint32_t index, const Config& config, unsigned host_threads);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  void enter() const;  // makes the context current; throws on a poisoned or lost device
  Context context() const { return context_; }
  Memory& memory() { return *memory_; }
  Uploader& uploader() { return *uploader_; }
  const Driver& driver() const { return driver_; }
  void load(uint32_t dtype);  // kernels of a storage type, before a search needs them

  void submit(std::unique_ptr<ScanTicket> ticket, hive_ticket** out);
  void progress();
  void cancel(ScanTicket* ticket);
  void health(hive_health* out);
  hive_memory_info memory_info();
  // Bytes per second of a copy within the device (read plus written) and from pinned host memory.
  void measure(double* copy, double* pinned);

  std::atomic<uint64_t> used_bytes{0};
  std::mutex owned_mutex;
  std::set<hive_segment*> segments;
  std::set<hive_bits*> bits;

 private:
  struct Kernels {
    Function scan[4][2] = {};  // dot, l2, l1, linf; one query, eight
    Function finish = nullptr;
    Function matrix[3] = {};  // 16, 64, 128 queries
  };
  struct Launch {
    Path path;
    uint32_t first = 0;  // within the wave
    uint32_t count = 0;
    uint32_t grid_x = 1;
    uint32_t grid_y = 1;
    uint32_t shared = 0;
    bool last = false;
  };
  struct Layout;

  static size_t control_cancel();  // where in Slot::control the cancel word is
  Function function(Module module, const std::string& name, size_t shared) const;
  // scan.cpp
  void plan(ScanTicket* ticket) const;
  Path choose_path(const ScanTicket& ticket, uint32_t queries) const;
  uint32_t matrix_bytes(const ScanTicket& ticket, uint32_t width) const;
  void begin_wave(Slot* slot, ScanTicket* ticket);
  Layout stage(Slot* slot, const ScanTicket& ticket);
  void stage_queries(Slot* slot, const ScanTicket& ticket, const Layout& layout, float* queries,
                     float* terms) const;
  void run_fused(Slot* slot, const ScanTicket& ticket, const Layout& layout);
  void run_dense(Slot* slot, const ScanTicket& ticket, const Layout& layout);
  void launch(Function f, uint32_t x, uint32_t y, uint32_t shared, Stream stream, void* args);
  void fill(gpu::ScanArgs* args, Slot* slot, const ScanTicket& ticket, const Layout& layout,
            const Launch& launch) const;
  std::vector<Launch> split(const ScanTicket& ticket, const Wave& wave) const;
  void collect(Slot* slot, ScanTicket* ticket);
  void write_hits(ScanTicket* ticket, uint32_t query, const uint64_t* found, uint32_t count) const;
  // device.cpp
  bool ready(const ScanTicket& ticket) const;
  Slot* free_slot();
  void start(ScanTicket* ticket, Slot* slot);
  void harvest(Slot* slot);
  void next_wave(Slot* slot, ScanTicket* ticket);
  void check_slot(Slot* slot);
  void end(ScanTicket* ticket, hive_status status, const std::string& message);
  void lose(hive_status status, const std::string& reason);

  const Driver& driver_;
  const DeviceNumber number_;
  const Config config_;
  Context context_ = nullptr;
  uint32_t multiprocessors_ = 1;
  uint32_t shared_most_ = 48 * 1024;
  bool matrix_ = false;
  Stream cancel_stream_ = nullptr;
  std::unique_ptr<Memory> memory_;
  std::unique_ptr<Uploader> uploader_;
  std::mutex load_mutex_;
  Module modules_[kImages] = {};
  Kernels kernels_[4];
  Function select_[4] = {};  // count, pick, collect, done

  std::mutex mutex_;  // slots, queue, state
  std::vector<std::unique_ptr<Slot>> slots_;
  std::deque<ScanTicket*> queue_;
  std::atomic<hive_status> state_{HIVE_OK};
  std::string state_reason_;
  std::atomic<uint64_t> jobs_submitted_{0};
  std::atomic<uint64_t> jobs_finished_{0};
  std::atomic<uint64_t> jobs_failed_{0};
  std::atomic<uint64_t> rows_scanned_{0};
  float last_micros_ = 0;
};

}  // namespace hive::cuda
