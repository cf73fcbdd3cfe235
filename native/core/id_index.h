// id -> number in many small open-addressing tables, so that growing one takes microseconds. Ids
// themselves live elsewhere: the caller compares them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "crc32c.h"

namespace hive {

inline uint64_t hash_id(std::string_view id) {
  uint64_t h = crc32c(0, id.data(), id.size());
  h = (h ^ (h >> 16)) * 0x9e3779b97f4a7c15u;
  return h ^ (h >> 29);
}

class IdIndex {
 public:
  // shards: a power of two; 1 for few entries.
  explicit IdIndex(size_t shards) : shards_(shards) {}

  // same(value) says whether the stored value has the id that was hashed.
  template <class Same>
  std::optional<uint64_t> find(uint64_t hash, Same same) const {
    const Shard& shard = shards_[shard_of(hash)];
    if (shard.slots.empty()) return std::nullopt;
    const size_t at = locate(shard, static_cast<uint32_t>(hash), same);
    if (at == kNone) return std::nullopt;
    return shard.slots[at].value - 1;
  }

  // Sets, and returns what was there before.
  template <class Same>
  std::optional<uint64_t> put(uint64_t hash, uint64_t value, Same same) {
    Shard& shard = shards_[shard_of(hash)];
    const auto tag = static_cast<uint32_t>(hash);
    if (!shard.slots.empty()) {
      const size_t at = locate(shard, tag, same);
      if (at != kNone) {
        const uint64_t before = shard.slots[at].value - 1;
        shard.slots[at].value = value + 1;
        return before;
      }
    }
    if ((shard.used + 1) * 4 > shard.slots.size() * 3) grow(&shard);
    insert(&shard, {value + 1, tag});
    ++shard.used;
    ++shard.live;
    return std::nullopt;
  }

  template <class Same>
  bool erase(uint64_t hash, Same same) {
    Shard& shard = shards_[shard_of(hash)];
    if (shard.slots.empty()) return false;
    const size_t at = locate(shard, static_cast<uint32_t>(hash), same);
    if (at == kNone) return false;
    shard.slots[at].value = kErased;
    --shard.live;
    return true;
  }

 private:
  struct Slot {
    uint64_t value = 0;  // the number plus one; 0 = never used
    uint32_t tag = 0;
  };
  struct Shard {
    std::vector<Slot> slots;
    size_t used = 0;  // erased ones included
    size_t live = 0;
  };
  static constexpr uint64_t kErased = ~uint64_t{0};
  static constexpr size_t kNone = ~size_t{0};

  size_t shard_of(uint64_t hash) const { return (hash >> 40) & (shards_.size() - 1); }

  template <class Same>
  static size_t locate(const Shard& shard, uint32_t tag, Same same) {
    const size_t mask = shard.slots.size() - 1;
    for (size_t at = tag & mask;; at = (at + 1) & mask) {
      const Slot& slot = shard.slots[at];
      if (slot.value == 0) return kNone;
      if (slot.tag == tag && slot.value != kErased && same(slot.value - 1)) return at;
    }
  }

  static void insert(Shard* shard, Slot slot) {
    const size_t mask = shard->slots.size() - 1;
    size_t at = slot.tag & mask;
    while (shard->slots[at].value != 0) at = (at + 1) & mask;
    shard->slots[at] = slot;
  }

  static void grow(Shard* shard) {
    size_t size = 8;
    while (size < (shard->live + 1) * 2) size *= 2;
    std::vector<Slot> old(size);
    old.swap(shard->slots);
    shard->used = shard->live;
    for (const Slot& slot : old) {
      if (slot.value != 0 && slot.value != kErased) insert(shard, slot);
    }
  }

  std::vector<Shard> shards_;
};

}  // namespace hive
