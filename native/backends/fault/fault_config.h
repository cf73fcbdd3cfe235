// Settings of the fault backend: which calls fail, and what kind of device it pretends to be.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "hive_backend.h"

namespace hive::fault {

// What a rule can make fail: the slots of the table that return a status, by their names in the
// table, and `complete`, the final status of a ticket.
enum class Slot : uint32_t {
  device_info,
  device_open,
  supports,
  segment_create,
  segment_append,
  bits_create,
  submit,
  poll,
  wait,
  memory_info,
  complete,
  count
};

const char* slot_name(Slot slot);
const char* status_name(hive_status status);

// The calls first .. first + times - 1 of a slot (counted from 1) end with status.
struct FailRule {
  Slot slot = Slot::count;
  uint64_t first = 1;
  uint64_t times = 1;
  hive_status status = HIVE_INTERNAL;
};

struct Config {
  bool sim = false;
  std::vector<FailRule> fails;
  uint64_t delay_us = 0;
  // Bytes that segments and bitsets may take together; 0 = without limit.
  uint64_t budget_bytes = 0;
  // The job whose submit takes the device (or the whole backend) down, from 1; 0 = never.
  uint64_t lost_after = 0;
  uint64_t poison_after = 0;
  // Keys that began with "inner.", for the wrapped backend.
  std::string inner_config;
};

inline constexpr uint64_t kSimDelayUs = 200;
inline constexpr uint64_t kSimBudgetBytes = uint64_t{64} << 20;

// "key=value;key=value". Returns false and says why in problem for anything it does not know.
bool parse_config(const std::string& text, Config* out, std::string* problem);

// Counts calls per slot and says which of them have to fail. Safe to use from several threads.
class FailPlan {
 public:
  explicit FailPlan(std::vector<FailRule> rules) : rules_(std::move(rules)) {}

  // Counts one call. OK, or the status that the call has to end with.
  hive_status next(Slot slot);

 private:
  const std::vector<FailRule> rules_;
  std::mutex mutex_;
  uint64_t calls_[static_cast<size_t>(Slot::count)] = {};
};

}  // namespace hive::fault
