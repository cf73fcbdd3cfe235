#include "memory.h"

namespace hive::cuda {
namespace {

constexpr size_t kReserveStep = size_t{2} << 20;
constexpr size_t kBlockLeast = 4096;

size_t block_class(size_t bytes) {
  size_t size = kBlockLeast;
  while (size < bytes) size *= 2;
  return size;
}

}  // namespace

Memory::Memory(const Driver& driver, DeviceNumber device) : driver_(driver) {
  properties_.type = 1;
  properties_.location = {1, device};
  access_.location = {1, device};
  access_.flags = 3;
  driver_.check(driver_.granularity(&granularity_, &properties_, 0),
                "cuMemGetAllocationGranularity");
}

Memory::~Memory() { (void)trim(); }

Result Memory::add_part(Range* range, size_t bytes) {
  Allocation part = 0;
  Result result = driver_.allocation_create(&part, bytes, &properties_, 0);
  if (result != kSuccess) return result;
  const Pointer at = range->base + range->backed;
  result = driver_.map(at, bytes, 0, part, 0);
  if (result == kSuccess) {
    result = driver_.access_set(at, bytes, &access_, 1);
    if (result != kSuccess) (void)driver_.unmap(at, bytes);
  }
  if (result != kSuccess) {
    (void)driver_.allocation_release(part);
    return result;
  }
  range->parts.emplace_back(part, bytes);
  range->backed += bytes;
  return kSuccess;
}

void Memory::back(Range* range, size_t bytes) {
  const size_t goal = std::min(round(bytes), range->reserved);
  while (range->backed < goal) {
    // Doubling keeps the number of parts small while a range grows row by row.
    const size_t step = std::min(std::max(goal - range->backed, range->backed),
                                 range->reserved - range->backed);
    Result result = add_part(range, step);
    if (result == kOutOfMemory && trim()) result = add_part(range, step);
    if (result == kOutOfMemory && goal - range->backed < step) {
      result = add_part(range, goal - range->backed);
    }
    driver_.check(result, "cuMemCreate");
  }
}

Range Memory::take_range(size_t bytes, size_t backed) {
  const size_t reserved = (bytes + kReserveStep - 1) / kReserveStep * kReserveStep;
  const size_t size = round(reserved);
  Range range;
  {
    const std::lock_guard lock(mutex_);
    const auto found = ranges_.find(size);
    if (found != ranges_.end()) {
      range = std::move(found->second);
      ranges_.erase(found);
      kept_ -= range.backed;
    }
  }
  if (range.base == 0) {
    driver_.check(driver_.address_reserve(&range.base, size, 0, 0, 0), "cuMemAddressReserve");
    range.reserved = size;
  }
  try {
    back(&range, backed);
  } catch (...) {
    destroy(&range);
    throw;
  }
  return range;
}

void Memory::destroy(Range* range) {
  if (range->backed > 0) (void)driver_.unmap(range->base, range->backed);
  for (const auto& [part, bytes] : range->parts) (void)driver_.allocation_release(part);
  if (range->base != 0) (void)driver_.address_free(range->base, range->reserved);
  *range = Range{};
}

void Memory::give_back(Range range) {
  if (range.base == 0) return;
  const std::lock_guard lock(mutex_);
  kept_ += range.backed;
  ranges_.emplace(range.reserved, std::move(range));
}

Pointer Memory::take_block(size_t bytes) {
  const size_t size = block_class(bytes);
  {
    const std::lock_guard lock(mutex_);
    const auto found = blocks_.find(size);
    if (found != blocks_.end()) {
      const Pointer block = found->second;
      blocks_.erase(found);
      kept_ -= size;
      return block;
    }
  }
  Pointer block = 0;
  Result result = driver_.memory_allocate(&block, size);
  if (result == kOutOfMemory && trim()) result = driver_.memory_allocate(&block, size);
  driver_.check(result, "cuMemAlloc");
  return block;
}

void Memory::give_back_block(Pointer block, size_t bytes) {
  if (block == 0) return;
  const std::lock_guard lock(mutex_);
  kept_ += block_class(bytes);
  blocks_.emplace(block_class(bytes), block);
}

bool Memory::trim() {
  std::multimap<size_t, Range> ranges;
  std::multimap<size_t, Pointer> blocks;
  {
    const std::lock_guard lock(mutex_);
    ranges.swap(ranges_);
    blocks.swap(blocks_);
    kept_ = 0;
  }
  for (auto& [size, range] : ranges) destroy(&range);
  for (const auto& [size, block] : blocks) (void)driver_.memory_free(block);
  return !ranges.empty() || !blocks.empty();
}

size_t Memory::kept_bytes() const {
  const std::lock_guard lock(mutex_);
  return kept_;
}

void Pinned::reserve(const Driver& driver, size_t bytes) {
  if (bytes <= size_) return;
  reset();
  size_t size = size_t{64} << 10;
  while (size < bytes) size *= 2;
  driver_ = &driver;
  void* memory = nullptr;
  // 1: usable from every context, 2: mapped.
  driver.check(driver.host_allocate(&memory, size, 3), "cuMemHostAlloc");
  data_ = static_cast<unsigned char*>(memory);
  size_ = size;
  driver.check(driver.host_pointer(&device_, memory, 0), "cuMemHostGetDevicePointer");
}

void Pinned::reset() {
  if (data_ != nullptr) (void)driver_->host_free(data_);
  data_ = nullptr;
  size_ = 0;
}

void Scratch::reserve(const Driver& driver, Stream stream, size_t bytes, bool zero) {
  if (bytes <= size_) return;
  reset();
  size_t size = size_t{64} << 10;
  while (size < bytes) size *= 2;
  driver_ = &driver;
  driver.check(driver.memory_allocate(&base_, size), "cuMemAlloc");
  size_ = size;
  if (zero) driver.check(driver.memory_set(base_, 0, size, stream), "cuMemsetD8Async");
}

void Scratch::reset() {
  if (base_ != 0) (void)driver_->memory_free(base_);
  base_ = 0;
  size_ = 0;
}

}  // namespace hive::cuda
