// What a device of the CPU backend owns, and what its source files share.
#pragma once

#include <atomic>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <string>
#include <vector>

#include "hive_backend.h"
#include "pool.h"
#include "predicate_plan.h"
#include "scan_plan.h"

struct hive_segment {
  hive::cpu::SegmentRows rows;
  uint32_t capacity = 0;
  std::atomic<uint32_t> appended{0};
  bool in_place = false;
  uint64_t bytes = 0;
  // Filled when the caller has no host memory to read in place.
  std::vector<char> data;
  std::vector<float> scales;
  std::vector<float> inv_norms;
};

struct hive_bits {
  hive::cpu::Bits bits;
};

struct hive_column {
  hive::cpu::Column column;
};

struct hive_ticket {
  std::shared_ptr<hive::cpu::Job> job;  // null: finished when it was made
};

struct hive_device {
  explicit hive_device(const hive::cpu::CpuKernels& k, uint32_t threads) : kernels(k), pool(threads) {}
  const hive::cpu::CpuKernels& kernels;
  std::atomic<uint64_t> used_bytes{0};
  std::atomic<uint64_t> jobs_submitted{0};
  // What was created and not yet freed; closing the device frees it.
  std::mutex owned_mutex;
  std::set<hive_segment*> segments;
  std::set<hive_bits*> bits;
  std::set<hive_column*> columns;
  hive::cpu::Pool pool;
};

namespace hive::cpu {

inline hive_status fail(hive_error* err, hive_status status, const std::string& message) noexcept {
  if (err != nullptr && err->struct_size > offsetof(hive_error, message)) {
    const size_t room = err->struct_size - offsetof(hive_error, message);
    std::snprintf(err->message, std::min(room, sizeof err->message), "%s", message.c_str());
  }
  return status;
}

// Runs body; no exception leaves the C ABI.
template <class Body>
hive_status guarded(hive_error* err, Body body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return fail(err, HIVE_OUT_OF_MEMORY, "The host is out of memory.");
  } catch (const std::exception& e) {
    return fail(err, HIVE_INTERNAL, e.what());
  } catch (...) {
    return fail(err, HIVE_INTERNAL, "An unknown exception reached the CPU backend.");
  }
}

// cpu_predicate.cpp
hive_status make_predicate_plan(hive_device* device, const hive_job* head,
                                std::unique_ptr<Plan>* out, hive_error* err);
hive_status column_create(hive_device* device, const hive_column_desc* desc, hive_column** out,
                          hive_error* err) noexcept;
void column_free(hive_device* device, hive_column* column) noexcept;

}  // namespace hive::cpu
