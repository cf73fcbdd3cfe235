// Facts about the host, for cpu_backend.cpp.
#pragma once

#include <cstdint>
#include <string>

namespace hive::cpu {

std::string available_kernels();  // names, best first, comma-separated
std::string cpu_name();
uint64_t memory_total_bytes();
uint64_t memory_free_bytes();

}  // namespace hive::cpu
