// What stands behind the opaque objects of the ABI.
#pragma once

#include <set>

#include "memory.h"
#include "scan_job.h"
#include "uploader.h"

struct hive_segment {
  hive::vulkan::Memory::Piece piece;
  uint32_t dim = 0;
  uint32_t dtype = 0;
  uint32_t capacity = 0;
  uint64_t stride = 0;       // bytes of a row on the device: whole blocks of four elements
  uint64_t norms_at = 0;     // offsets in the piece
  uint64_t scales_at = 0;
  std::atomic<uint32_t> appended{0};
  std::atomic<uint64_t> arrives{0};  // value of the transfer timeline when all rows have arrived
};

struct hive_bits {
  hive::vulkan::Memory::Piece piece;
  uint32_t count = 0;
  uint64_t arrives = 0;
};

struct hive_ticket {
  // Held by whoever drives the work; the others try.
  std::timed_mutex mutex;
  std::atomic<hive_status> status{HIVE_PENDING};
  std::string problem;
  std::atomic<bool> cancelled{false};
  std::unique_ptr<hive::vulkan::ScanJob> job;  // null: an append
  uint64_t arrives = 0;                        // append: value of the transfer timeline
};

struct hive_device {
  std::shared_ptr<hive::vulkan::Context> context;
  uint64_t memory_limit = 0;
  uint32_t timeout_ms = 0;
  std::atomic<uint64_t> used_bytes{0};
  std::atomic<uint64_t> jobs_submitted{0};
  std::atomic<uint64_t> jobs_finished{0};
  std::atomic<uint64_t> jobs_failed{0};
  std::atomic<uint64_t> rows_scanned{0};
  std::mutex owned_mutex;
  std::set<hive_segment*> segments;
  std::set<hive_bits*> bits;
};
