#include <algorithm>
#include <map>
#include <mutex>

#include "cpu_backend.h"
#include "fault_support.h"

namespace hive::test::spy {
namespace {

const hive_backend_table* cpu() {
  static const hive_backend_table* const table = [] {
    const hive_backend_table* out = nullptr;
    (void)hive_cpu_backend_open(nullptr, &out, nullptr);
    return out;
  }();
  return table;
}

hive_status segment_create(hive_device* device, const hive_segment_desc* desc, hive_segment** out,
                           hive_error* err) noexcept {
  seen().host_data = desc->host_data;
  seen().inv_norms = desc->host_inv_norms;
  seen().data_bytes = size_t{desc->capacity_rows} * desc->dim * element_bytes(desc->dtype);
  return cpu()->segment_create(device, desc, out, err);
}

void segment_free(hive_device* device, hive_segment* segment) noexcept {
  // The memory is still the inner backend's to read: what it would find is what counts.
  const auto* bytes = static_cast<const unsigned char*>(seen().host_data);
  seen().poisoned_at_free =
      std::all_of(bytes, bytes + seen().data_bytes, [](unsigned char b) { return b == 0xA5; });
  seen().zero_norms_at_free = seen().inv_norms[0] == 0.0f;
  ++seen().segments_freed;
  cpu()->segment_free(device, segment);
}

hive_status submit(hive_device* device, const hive_job* job, hive_ticket** out,
                   hive_error* err) noexcept {
  const auto* scan = reinterpret_cast<const hive_scan_job*>(job);
  seen().queries = scan->queries;
  seen().hits = scan->hits;
  return cpu()->submit(device, job, out, err);
}

}  // namespace

Seen& seen() {
  static Seen state;
  return state;
}

const hive_backend_table* table() {
  static const hive_backend_table spying = [] {
    hive_backend_table t = *cpu();
    t.segment_create = segment_create;
    t.segment_free = segment_free;
    t.submit = submit;
    return t;
  }();
  return &spying;
}

}  // namespace hive::test::spy
