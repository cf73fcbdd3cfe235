#include "columns.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace hive {
namespace {

// Filters kept per segment: a bitset of the largest segment takes 32 KiB.
constexpr size_t kCached = 8;
// Largest program that is worth remembering.
constexpr size_t kKeyMax = 64 * 1024;
constexpr uint32_t kMinCapacity = 64;
constexpr double kSafeInteger = 9007199254740992.0;

uint32_t width(uint32_t encoding) {
  return encoding == HIVE_COLUMN_LIST ? 4 : (encoding == HIVE_COLUMN_PRESENCE ? 0 : 1u << encoding);
}

// Highest stored value of an encoding of 8, 16 or 32 bits.
double span_of(uint32_t encoding) { return std::ldexp(1.0, 8 << encoding) - 1; }

uint64_t stored_at(const ColumnChunk& c, uint32_t slot) {
  const char* at = c.values->data() + size_t{slot} * width(c.encoding);
  switch (c.encoding) {
    case HIVE_COLUMN_U8: return *reinterpret_cast<const uint8_t*>(at);
    case HIVE_COLUMN_U16: return *reinterpret_cast<const uint16_t*>(at);
    case HIVE_COLUMN_U32: return *reinterpret_cast<const uint32_t*>(at);
    default: return *reinterpret_cast<const uint64_t*>(at);
  }
}

void store_at(const ColumnChunk& c, uint32_t slot, uint64_t value) {
  char* at = c.values->data() + size_t{slot} * width(c.encoding);
  switch (c.encoding) {
    case HIVE_COLUMN_U8: *reinterpret_cast<uint8_t*>(at) = static_cast<uint8_t>(value); return;
    case HIVE_COLUMN_U16: *reinterpret_cast<uint16_t*>(at) = static_cast<uint16_t>(value); return;
    case HIVE_COLUMN_U32: *reinterpret_cast<uint32_t*>(at) = static_cast<uint32_t>(value); return;
    default: *reinterpret_cast<uint64_t*>(at) = value;
  }
}

void store_number(const ColumnChunk& c, uint32_t slot, double value) {
  if (c.encoding == HIVE_COLUMN_U64) return store_at(c, slot, number_key(value));
  store_at(c, slot, static_cast<uint64_t>(value - c.base));
}

bool fits(const ColumnChunk& c, double min, double max, bool integers) {
  if (c.encoding == HIVE_COLUMN_U64) return true;
  return integers && min >= c.base && max <= c.base + span_of(c.encoding);
}

// The narrowest encoding for integers in [min, max], with room on both sides for values to come.
void choose_encoding(ColumnChunk* c, double min, double max, bool integers) {
  c->encoding = HIVE_COLUMN_U64;
  c->base = 0;
  if (!integers || min < -kSafeInteger || max > kSafeInteger) return;
  for (uint32_t e = HIVE_COLUMN_U8; e <= HIVE_COLUMN_U32; ++e) {
    const double span = span_of(e);
    if (max - min > span) continue;
    c->encoding = e;
    c->base = min >= 0 && max <= span ? 0 : std::floor(min - (span - (max - min)) / 2);
    // Bases beyond the safe integers could not be subtracted exactly.
    c->base = std::max(c->base, -kSafeInteger);
    return;
  }
}

std::shared_ptr<ColumnBuffer> grown(size_t used, size_t needed, size_t most,
                                    const std::shared_ptr<ColumnBuffer>& old, bool copy) {
  size_t bytes = std::max<size_t>(needed, old == nullptr ? 0 : old->size() * 2);
  bytes = std::max(std::min(bytes, most), needed);
  auto buffer = std::make_shared<ColumnBuffer>(bytes);
  if (copy && used > 0) std::memcpy(buffer->data(), old->data(), used);
  return buffer;
}

// Gives the chunk memory for its encoding up to row_count; re-encodes what it held.
void make_room(ColumnChunk* next, const ColumnChunk* old, uint32_t row_count, uint32_t capacity) {
  const size_t w = width(next->encoding);
  const bool same = old != nullptr && old->encoding == next->encoding && old->base == next->base;
  if (same && old->values->size() >= row_count * w) {
    next->values = old->values;
    return;
  }
  const uint32_t used = old == nullptr ? 0 : old->row_count;
  next->values = grown(used * w, std::max(row_count, kMinCapacity) * w, capacity * w,
                       same ? old->values : nullptr, same);
  if (same) return;
  for (uint32_t slot = 0; slot < used; ++slot) {
    if (!old->has(slot)) continue;
    if (next->kind == ColumnKind::kNumber) store_number(*next, slot, old->number(slot));
    else store_at(*next, slot, old->code(slot));
  }
}

void extend_numbers(ColumnChunk* next, const ColumnChunk* old, const ColumnValues& values,
                    uint32_t first, uint32_t last, uint32_t row_count, uint32_t capacity) {
  double min = old == nullptr ? std::numeric_limits<double>::infinity() : old->min;
  double max = old == nullptr ? -std::numeric_limits<double>::infinity() : old->max;
  bool integers = true;
  const bool codes = next->kind == ColumnKind::kCode;
  for (uint32_t i = first; i < last; ++i) {
    const double value = codes ? values.codes[i] : values.numbers[i];
    min = std::min(min, value);
    max = std::max(max, value);
    integers = integers && value == std::floor(value);
  }
  next->min = min;
  next->max = max;
  if (old == nullptr || !fits(*old, min, max, integers)) {
    const bool all_integers = integers && (old == nullptr || old->encoding != HIVE_COLUMN_U64);
    // Codes have no base, so that sets of codes hold for every segment.
    choose_encoding(next, codes ? 0 : min, max, all_integers);
  }
  make_room(next, old, row_count, capacity);
}

void extend_list(ColumnChunk* next, const ColumnChunk* old, const ColumnValues& values,
                 uint32_t row_count, uint32_t capacity, size_t first_code, size_t codes) {
  next->encoding = HIVE_COLUMN_LIST;
  const size_t offset_bytes = (size_t{std::max(row_count, kMinCapacity)} + 1) * sizeof(uint32_t);
  const uint32_t used = old == nullptr ? 0 : old->row_count;
  if (old != nullptr && old->offsets->size() >= (size_t{row_count} + 1) * sizeof(uint32_t)) {
    next->offsets = old->offsets;
  } else {
    next->offsets = grown((size_t{used} + 1) * sizeof(uint32_t), offset_bytes,
                          (size_t{capacity} + 1) * sizeof(uint32_t),
                          old == nullptr ? nullptr : old->offsets, old != nullptr);
  }
  const size_t before = old == nullptr ? 0 : old->value_count;
  const size_t value_bytes = std::max<size_t>(before + codes, kMinCapacity) * sizeof(uint32_t);
  if (old != nullptr && old->values->size() >= (before + codes) * sizeof(uint32_t)) {
    next->values = old->values;
  } else {
    next->values = grown(before * sizeof(uint32_t), value_bytes,
                         std::numeric_limits<size_t>::max(), old == nullptr ? nullptr : old->values,
                         old != nullptr);
  }
  auto* offsets = reinterpret_cast<uint32_t*>(next->offsets->data());
  auto* into = reinterpret_cast<uint32_t*>(next->values->data());
  if (old == nullptr) offsets[0] = 0;
  std::copy_n(values.codes.begin() + static_cast<std::ptrdiff_t>(first_code), codes, into + before);
  next->min = old == nullptr ? 0 : old->min;
  next->max = old == nullptr ? 0 : old->max;
  for (size_t i = first_code; i < first_code + codes; ++i) {
    next->max = std::max<double>(next->max, values.codes[i]);
  }
  next->value_count = static_cast<uint32_t>(before + codes);
}

}  // namespace

uint64_t number_key(double value) {
  value += 0.0;  // -0 becomes 0
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return (bits >> 63) != 0 ? ~bits : bits | (uint64_t{1} << 63);
}

double number_of_key(uint64_t key) {
  const uint64_t bits = (key >> 63) != 0 ? key & ~(uint64_t{1} << 63) : ~key;
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

double ColumnChunk::number(uint32_t slot) const {
  const uint64_t stored = stored_at(*this, slot);
  return encoding == HIVE_COLUMN_U64 ? number_of_key(stored) : base + static_cast<double>(stored);
}

uint32_t ColumnChunk::code(uint32_t slot) const {
  return static_cast<uint32_t>(stored_at(*this, slot));
}

std::pair<const uint32_t*, uint32_t> ColumnChunk::list(uint32_t slot) const {
  const auto* at = reinterpret_cast<const uint32_t*>(offsets->data()) + slot;
  return {reinterpret_cast<const uint32_t*>(values->data()) + at[0], at[1] - at[0]};
}

hive_column_desc ColumnChunk::desc() const {
  hive_column_desc d{};
  d.struct_size = sizeof d;
  d.encoding = encoding;
  d.row_count = row_count;
  d.value_count = encoding == HIVE_COLUMN_LIST ? value_count : row_count;
  d.values = values == nullptr ? nullptr : values->data();
  d.offsets = offsets == nullptr ? nullptr : reinterpret_cast<const uint32_t*>(offsets->data());
  d.valid = full() ? nullptr : valid.data();
  return d;
}

uint64_t ColumnChunk::bytes() const {
  return valid.size() * sizeof(uint32_t) + (values == nullptr ? 0 : values->size()) +
         (offsets == nullptr ? 0 : offsets->size());
}

std::shared_ptr<const ColumnChunk> extend_chunk(const ColumnChunk* old, const ColumnValues& values,
                                                uint32_t first, uint32_t last, uint32_t shift,
                                                uint32_t capacity) {
  auto next = std::make_shared<ColumnChunk>();
  if (old != nullptr) {
    next->encoding = old->encoding;
    next->base = old->base;
    next->min = old->min;
    next->max = old->max;
    next->value_count = old->value_count;
    next->valid = old->valid;
  }
  next->kind = values.kind;
  const auto slot_of = [&](uint32_t i) { return values.positions[i] + shift; };
  const uint32_t row_count = slot_of(last - 1) + 1;
  next->row_count = row_count;
  next->present = (old == nullptr ? 0 : old->present) + (last - first);
  next->valid.resize((size_t{row_count} + 31) / 32, 0);
  size_t first_code = 0;
  if (values.kind == ColumnKind::kList) {
    for (uint32_t i = 0; i < first; ++i) first_code += values.lengths[i];
    size_t codes = 0;
    for (uint32_t i = first; i < last; ++i) codes += values.lengths[i];
    extend_list(next.get(), old, values, row_count, capacity, first_code, codes);
  } else if (values.kind != ColumnKind::kPresence) {
    extend_numbers(next.get(), old, values, first, last, row_count, capacity);
  }
  auto* offsets = next->offsets == nullptr ? nullptr
                                           : reinterpret_cast<uint32_t*>(next->offsets->data());
  uint32_t filled = old == nullptr ? 0 : old->row_count;
  for (uint32_t i = first; i < last; ++i) {
    const uint32_t slot = slot_of(i);
    next->valid[slot / 32] |= 1u << (slot % 32);
    if (values.kind == ColumnKind::kNumber) store_number(*next, slot, values.numbers[i]);
    if (values.kind == ColumnKind::kCode) store_at(*next, slot, values.codes[i]);
    if (values.kind != ColumnKind::kList) continue;
    for (; filled < slot; ++filled) offsets[filled + 1] = offsets[filled];
    offsets[slot + 1] = offsets[slot] + values.lengths[i];
    filled = slot + 1;
  }
  return next;
}

std::shared_ptr<const FilterBits> SegmentColumns::cached(const std::string& key,
                                                         uint32_t row_count) const {
  if (key.empty()) return nullptr;
  const std::lock_guard lock(mutex_);
  for (auto it = cache_.begin(); it != cache_.end(); ++it) {
    if (it->bits->row_count != row_count || it->key != key) continue;
    cache_.splice(cache_.begin(), cache_, it);
    return it->bits;
  }
  return nullptr;
}

void SegmentColumns::remember(const std::string& key,
                              std::shared_ptr<const FilterBits> bits) const {
  if (key.empty() || key.size() > kKeyMax) return;
  const std::lock_guard lock(mutex_);
  std::erase_if(cache_, [&](const Entry& e) { return e.key == key; });
  cache_.push_front({key, std::move(bits)});
  if (cache_.size() > kCached) cache_.pop_back();
}

uint64_t SegmentColumns::bytes() const {
  uint64_t total = 0;
  for (const auto& [id, chunk] : chunks) total += chunk->bytes();
  return total;
}

}  // namespace hive
