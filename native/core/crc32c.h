// CRC-32C (Castagnoli), the checksum of everything the durable store writes. Uses the processor's
// instruction where there is one; the table version gives the same values.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hive {

// Continues `crc` (0 at the start) over more bytes.
uint32_t crc32c(uint32_t crc, const void* data, size_t bytes);

// The version without the instruction (tests compare the two).
uint32_t crc32c_portable(uint32_t crc, const void* data, size_t bytes);

}  // namespace hive
