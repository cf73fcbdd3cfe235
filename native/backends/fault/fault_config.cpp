#include "fault_config.h"

#include <charconv>
#include <limits>

namespace hive::fault {
namespace {

constexpr const char* kSlotNames[] = {
    "device_info", "device_open", "supports", "segment_create", "segment_append", "bits_create",
    "submit",      "poll",        "wait",     "memory_info",    "complete",
};
static_assert(sizeof kSlotNames / sizeof *kSlotNames == static_cast<size_t>(Slot::count));

struct NamedStatus {
  const char* name;
  hive_status status;
};
constexpr NamedStatus kStatuses[] = {
#define HIVE_STATUS(NAME, number, scope, retryable) {#NAME, number},
#include "hive_status.def"
#undef HIVE_STATUS
};

// A delay longer than this is a typing error, and would look like a hang.
constexpr uint64_t kDelayMaxUs = 60'000'000;

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> out;
  size_t from = 0;
  for (;;) {
    const size_t end = text.find(separator, from);
    out.push_back(text.substr(from, end - from));
    if (end == std::string::npos) return out;
    from = end + 1;
  }
}

bool parse_number(const std::string& text, uint64_t* out) {
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, *out);
  return error == std::errc() && stopped == end && !text.empty();
}

bool parse_slot(const std::string& text, Slot* out) {
  for (uint32_t i = 0; i < static_cast<uint32_t>(Slot::count); ++i) {
    if (text == kSlotNames[i]) {
      *out = static_cast<Slot>(i);
      return true;
    }
  }
  return false;
}

bool parse_status(const std::string& text, hive_status* out) {
  for (const NamedStatus& known : kStatuses) {
    // OK and PENDING are no failures.
    if (text == known.name && known.status > HIVE_PENDING) {
      *out = known.status;
      return true;
    }
  }
  return false;
}

// <slot>:<n>[:<STATUS>][:<times>|always]
bool parse_rule(const std::string& text, FailRule* out, std::string* problem) {
  const std::vector<std::string> parts = split(text, ':');
  if (parts.size() < 2 || parts.size() > 4) {
    *problem = "fail needs <slot>:<n>[:<STATUS>][:<times>], got \"" + text + "\".";
    return false;
  }
  if (!parse_slot(parts[0], &out->slot)) {
    *problem = "fail names the unknown slot \"" + parts[0] + "\".";
    return false;
  }
  if (!parse_number(parts[1], &out->first) || out->first == 0) {
    *problem = "fail counts calls from 1, got \"" + parts[1] + "\".";
    return false;
  }
  size_t at = 2;
  if (at < parts.size() && parse_status(parts[at], &out->status)) ++at;
  if (at < parts.size() && parts[at] == "always") {
    out->times = std::numeric_limits<uint64_t>::max();
    ++at;
  } else if (at < parts.size() && parse_number(parts[at], &out->times) && out->times > 0) {
    ++at;
  }
  if (at == parts.size()) return true;
  *problem = "fail has neither a status nor a number of times in \"" + parts[at] + "\".";
  return false;
}

bool parse_fails(const std::string& value, Config* out, std::string* problem) {
  for (const std::string& part : split(value, ',')) {
    FailRule rule;
    if (!parse_rule(part, &rule, problem)) return false;
    out->fails.push_back(rule);
  }
  return true;
}

// What was written, before the defaults of the mode fill the gaps.
struct Written {
  bool delay = false;
  bool budget = false;
};

bool parse_item(const std::string& key, const std::string& value, Config* out, Written* written,
                std::string* problem) {
  if (key == "inner") return true;
  if (key == "fail") return parse_fails(value, out, problem);
  if (key == "mode") {
    out->sim = value == "sim";
    if (out->sim || value == "pass") return true;
    *problem = "mode is pass or sim, got \"" + value + "\".";
    return false;
  }
  if (key.starts_with("inner.")) {
    if (!out->inner_config.empty()) out->inner_config += ';';
    out->inner_config += key.substr(6) + "=" + value;
    return true;
  }
  uint64_t* number = nullptr;
  uint64_t least = 1;
  if (key == "delay_us") {
    number = &out->delay_us;
    written->delay = true;
    least = 0;
  } else if (key == "budget_bytes") {
    number = &out->budget_bytes;
    written->budget = true;
  } else if (key == "lost_after") {
    number = &out->lost_after;
  } else if (key == "poison_after") {
    number = &out->poison_after;
  } else {
    *problem = "Unknown setting \"" + key +
               "\" for the fault backend; it has inner, inner.<key>, mode, fail, delay_us, "
               "budget_bytes, lost_after and poison_after.";
    return false;
  }
  if (parse_number(value, number) && *number >= least) return true;
  *problem = key + " must be a whole number of at least " + std::to_string(least) + ", got \"" +
             value + "\".";
  return false;
}

}  // namespace

const char* slot_name(Slot slot) { return kSlotNames[static_cast<size_t>(slot)]; }

const char* status_name(hive_status status) {
  for (const NamedStatus& known : kStatuses) {
    if (known.status == status) return known.name;
  }
  return "unknown";
}

bool parse_config(const std::string& text, Config* out, std::string* problem) {
  Written written;
  for (const std::string& item : split(text, ';')) {
    if (item.empty()) continue;
    const size_t equals = item.find('=');
    if (equals == std::string::npos) {
      *problem = "The setting \"" + item + "\" of the fault backend has no value.";
      return false;
    }
    if (!parse_item(item.substr(0, equals), item.substr(equals + 1), out, &written, problem)) {
      return false;
    }
  }
  if (out->delay_us > kDelayMaxUs) {
    *problem = "delay_us must be at most " + std::to_string(kDelayMaxUs) + ".";
    return false;
  }
  if (out->sim && !written.delay) out->delay_us = kSimDelayUs;
  if (out->sim && !written.budget) out->budget_bytes = kSimBudgetBytes;
  return true;
}

hive_status FailPlan::next(Slot slot) {
  if (rules_.empty()) return HIVE_OK;
  const std::lock_guard lock(mutex_);
  const uint64_t call = ++calls_[static_cast<size_t>(slot)];
  for (const FailRule& rule : rules_) {
    if (rule.slot == slot && call >= rule.first && call - rule.first < rule.times) {
      return rule.status;
    }
  }
  return HIVE_OK;
}

}  // namespace hive::fault
