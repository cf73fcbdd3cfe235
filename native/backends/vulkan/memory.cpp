#include "memory.h"

namespace hive::vulkan {
namespace {

constexpr uint64_t kAlign = 256;
constexpr uint64_t kBlockBytes = uint64_t{8} << 20;
constexpr uint64_t kSmallMax = kBlockBytes / 4;  // larger pieces get a block of their own

uint64_t aligned(uint64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

}  // namespace

Memory::~Memory() {
  for (Block& block : blocks_) context_.destroy_buffer(&block.buffer);
}

Memory::Block* Memory::add_block(uint64_t bytes) {
  Block block;
  block.buffer = context_.create_buffer(bytes, Use::kRows);
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
    context_.destroy_buffer(&it->buffer);
    blocks_.erase(it);
    return;
  }
}

uint64_t Memory::allocated_bytes() const {
  const std::lock_guard lock(mutex_);
  uint64_t bytes = 0;
  for (const Block& block : blocks_) bytes += block.buffer.size;
  return bytes;
}

VkBuffer Memory::buffer_of(const Piece& piece) { return piece.block->buffer.buffer; }

}  // namespace hive::vulkan
