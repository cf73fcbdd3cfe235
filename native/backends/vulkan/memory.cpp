#include "memory.h"

namespace hive::vulkan {
namespace {

constexpr uint64_t kAlign = 256;
constexpr uint64_t kBlockBytes = uint64_t{8} << 20;
constexpr uint64_t kSpareBytes = uint64_t{192} << 20;
constexpr uint64_t kSmallMax = kBlockBytes / 4;  // larger pieces get a block of their own

uint64_t aligned(uint64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

}  // namespace

Memory::~Memory() {
  for (Block& block : blocks_) context_.destroy_buffer(&block.buffer);
  drop_spares(0);
}

void Memory::drop_spares(uint64_t keep_bytes) {
  while (spare_bytes_ > keep_bytes) {
    spare_bytes_ -= spares_.front().size;
    context_.destroy_buffer(&spares_.front());
    spares_.pop_front();
  }
}

Buffer Memory::make_buffer(uint64_t bytes) {
  for (auto it = spares_.begin(); it != spares_.end(); ++it) {
    if (it->size != bytes) continue;
    const Buffer buffer = *it;
    spares_.erase(it);
    spare_bytes_ -= bytes;
    return buffer;
  }
  try {
    return context_.create_buffer(bytes, Use::kRows);
  } catch (const Error& e) {
    if (e.status() != HIVE_DEVICE_OUT_OF_MEMORY || spares_.empty()) throw;
  }
  drop_spares(0);
  return context_.create_buffer(bytes, Use::kRows);
}

Memory::Block* Memory::add_block(uint64_t bytes) {
  Block block;
  block.buffer = make_buffer(bytes);
  block.gaps.emplace(0, bytes);
  blocks_.push_back(std::move(block));
  return &blocks_.back();
}

bool Memory::take(Block* block, uint64_t bytes, Piece* out) {
  for (auto gap = block->gaps.begin(); gap != block->gaps.end(); ++gap) {
    const auto [offset, size] = *gap;
    if (size < bytes) continue;
    block->gaps.erase(gap);
    if (size > bytes) block->gaps.emplace(offset + bytes, size - bytes);
    const Buffer& buffer = block->buffer;
    *out = {block, offset, bytes, buffer.address + offset,
            buffer.mapped == nullptr ? nullptr : buffer.mapped + offset};
    return true;
  }
  return false;
}

Memory::Piece Memory::allocate(uint64_t bytes) {
  const uint64_t size = aligned(std::max<uint64_t>(1, bytes));
  const std::lock_guard lock(mutex_);
  Piece piece;
  if (size > kSmallMax) {
    (void)take(add_block(size), size, &piece);
    return piece;
  }
  for (Block& block : blocks_) {
    if (block.buffer.size == kBlockBytes && take(&block, size, &piece)) return piece;
  }
  (void)take(add_block(kBlockBytes), size, &piece);
  return piece;
}

void Memory::free(const Piece& piece) {
  if (piece.block == nullptr) return;
  const std::lock_guard lock(mutex_);
  std::map<uint64_t, uint64_t>& gaps = piece.block->gaps;
  auto [gap, added] = gaps.emplace(piece.offset, piece.size);
  if (const auto next = std::next(gap); next != gaps.end() && gap->first + gap->second == next->first) {
    gap->second += next->second;
    gaps.erase(next);
  }
  if (gap != gaps.begin()) {
    const auto before = std::prev(gap);
    if (before->first + before->second == gap->first) {
      before->second += gap->second;
      gaps.erase(gap);
      gap = before;
    }
  }
  if (gap->second != piece.block->buffer.size) return;
  for (auto it = blocks_.begin(); it != blocks_.end(); ++it) {
    if (&*it != piece.block) continue;
    spares_.push_back(it->buffer);
    spare_bytes_ += it->buffer.size;
    blocks_.erase(it);
    drop_spares(context_.physical().software ? 0 : kSpareBytes);
    return;
  }
}

uint64_t Memory::allocated_bytes() const {
  const std::lock_guard lock(mutex_);
  uint64_t bytes = 0;
  for (const Block& block : blocks_) bytes += block.buffer.size;
  return bytes;
}

uint64_t Memory::spare_bytes() const {
  const std::lock_guard lock(mutex_);
  return spare_bytes_;
}

VkBuffer Memory::buffer_of(const Piece& piece) { return piece.block->buffer.buffer; }

}  // namespace hive::vulkan
