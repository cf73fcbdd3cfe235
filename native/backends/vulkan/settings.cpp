#include "settings.h"

#include <cstdlib>

namespace hive::vulkan {
namespace {

uint64_t number(const std::string& key, const std::string& value, uint64_t most) {
  char* end = nullptr;
  const unsigned long long parsed = std::strtoull(value.c_str(), &end, 10);
  if (value.empty() || *end != 0 || value[0] == '-' || parsed > most) {
    throw Error(HIVE_INVALID_ARGUMENT, "Setting " + key + " must be a number from 0 to " +
                                           std::to_string(most) + ", got \"" + value + "\".");
  }
  return parsed;
}

Filter filter_of(const std::string& value) {
  if (value == "intel") return Filter::kIntel;
  if (value == "universal") return Filter::kUniversal;
  if (value == "any") return Filter::kAny;
  throw Error(HIVE_INVALID_ARGUMENT,
              "Setting devices must be intel, universal or any, got \"" + value + "\".");
}

void apply(const std::string& key, const std::string& value, Settings* out) {
  if (key == "devices") {
    out->filter = filter_of(value);
  } else if (key == "validate") {
    out->validate = number(key, value, 1) != 0;
  } else if (key == "staging") {
    out->staging = number(key, value, 1) != 0;
  } else if (key == "cache") {
    out->pipeline_cache = value != "off";
    out->cache_folder = value == "off" ? "" : value;
  } else if (key == "memory_limit") {
    out->memory_limit = number(key, value, uint64_t{1} << 53);
  } else if (key == "timeout_ms") {
    out->timeout_ms = static_cast<uint32_t>(number(key, value, 3'600'000));
  } else {
    throw Error(HIVE_INVALID_ARGUMENT,
                "Unknown setting \"" + key + "\" for the vulkan backend; it has devices, validate, "
                "staging, cache, memory_limit and timeout_ms.");
  }
}

}  // namespace

Settings Settings::parse(const std::string& text) {
  Settings out;
  for (size_t from = 0; from < text.size();) {
    const size_t end = std::min(text.find(';', from), text.size());
    const std::string item = text.substr(from, end - from);
    from = end + 1;
    if (item.empty()) continue;
    const size_t equals = item.find('=');
    apply(item.substr(0, equals), equals == std::string::npos ? "" : item.substr(equals + 1), &out);
  }
  return out;
}

}  // namespace hive::vulkan
