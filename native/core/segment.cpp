#include "segment.h"

#include <algorithm>
#include <atomic>
#include <new>

#include "residency.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <sys/mman.h>
#endif

namespace hive {
namespace {

std::atomic<uint64_t> g_next_id{1};

constexpr size_t kElementBytes[] = {4, 2, 2, 1};
constexpr size_t kAlign = 64;
// Kernels may read a vector past the last row of a segment, never past its memory.
constexpr size_t kSlack = 64;
// Huge pages speed up scans, but a small collection should not pay for one.
constexpr size_t kHugeAfter = size_t{2} << 20;

size_t aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

void* map_memory(size_t bytes) {
#if defined(_WIN32)
  return VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
#else
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
#if defined(MADV_HUGEPAGE)
  if (bytes > kHugeAfter) {
    madvise(static_cast<char*>(memory) + kHugeAfter, bytes - kHugeAfter, MADV_HUGEPAGE);
  }
#endif
  return memory;
#endif
}

void unmap_memory(void* memory, size_t bytes) {
#if defined(_WIN32)
  (void)bytes;
  VirtualFree(memory, 0, MEM_RELEASE);
#else
  munmap(memory, bytes);
#endif
}

}  // namespace

size_t element_bytes(uint32_t dtype) { return kElementBytes[dtype]; }

LiveBits::LiveBits(std::vector<uint32_t> w, uint32_t n)
    : id(g_next_id.fetch_add(1)), words(std::move(w)), count(n) {}

LiveBits::~LiveBits() { forget_bits_everywhere(id); }

Segment::Segment(uint32_t dim, uint32_t dtype, uint32_t capacity, uint64_t base_row,
                 std::vector<uint64_t> rows)
    : id(g_next_id.fetch_add(1)),
      base_row_(base_row),
      rows_(std::move(rows)),
      row_bytes_(size_t{dim} * kElementBytes[dtype]),
      dtype_(dtype),
      capacity_(capacity) {
  const bool scaled = dtype == HIVE_DTYPE_I8;
  const size_t data_bytes = aligned(row_bytes_ * capacity + kSlack);
  const size_t float_bytes = aligned(size_t{capacity} * sizeof(float));
  mapped_bytes_ = data_bytes + float_bytes * (scaled ? 2 : 1);
  mapping_ = map_memory(mapped_bytes_);
  if (mapping_ == nullptr) throw std::bad_alloc();
  data_ = static_cast<char*>(mapping_);
  inv_norms_ = reinterpret_cast<float*>(data_ + data_bytes);
  if (scaled) scales_ = reinterpret_cast<float*>(data_ + data_bytes + float_bytes);
}

Segment::~Segment() {
  forget_segment_everywhere(id);
  unmap_memory(mapping_, mapped_bytes_);
}

std::optional<uint32_t> Segment::slot_of(uint64_t row, uint32_t row_count) const {
  if (row_count == 0 || row < first_row() || row > row_at(row_count - 1)) return std::nullopt;
  if (rows_.empty()) return static_cast<uint32_t>(row - base_row_);
  const auto end = rows_.begin() + row_count;
  const auto it = std::lower_bound(rows_.begin(), end, row);
  if (it == end || *it != row) return std::nullopt;
  return static_cast<uint32_t>(it - rows_.begin());
}

std::optional<Snapshot::Place> Snapshot::find(uint64_t row) const {
  const auto after = std::upper_bound(
      segments.begin(), segments.end(), row,
      [](uint64_t r, const SnapshotSegment& s) { return r < s.segment->first_row(); });
  if (after == segments.begin()) return std::nullopt;
  const auto index = static_cast<size_t>(after - segments.begin()) - 1;
  const auto slot = segments[index].segment->slot_of(row, segments[index].row_count);
  if (!slot) return std::nullopt;
  return Place{index, *slot};
}

}  // namespace hive
