#include "crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__)
#include <nmmintrin.h>
#define HIVE_CRC_X86 1
#elif defined(__aarch64__) && defined(__GNUC__)
#include <arm_acle.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif
#define HIVE_CRC_ARM 1
#endif

namespace hive {
namespace {

using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ ((c & 1u) != 0 ? 0x82f63b78u : 0u);
    tables[0][i] = c;
  }
  for (uint32_t i = 0; i < 256; ++i) {
    for (size_t t = 1; t < 8; ++t) {
      tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 255u];
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

#if defined(HIVE_CRC_X86)
__attribute__((target("sse4.2"))) uint32_t crc_fast(uint32_t crc, const uint8_t* p, size_t n) {
  uint64_t c = crc;
  for (; n >= 8; n -= 8, p += 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    c = _mm_crc32_u64(c, word);
  }
  auto c32 = static_cast<uint32_t>(c);
  for (; n > 0; --n, ++p) c32 = _mm_crc32_u8(c32, *p);
  return c32;
}
bool has_fast() { return __builtin_cpu_supports("sse4.2") != 0; }
#elif defined(HIVE_CRC_ARM)
__attribute__((target("+crc"))) uint32_t crc_fast(uint32_t crc, const uint8_t* p, size_t n) {
  for (; n >= 8; n -= 8, p += 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    crc = __crc32cd(crc, word);
  }
  for (; n > 0; --n, ++p) crc = __crc32cb(crc, *p);
  return crc;
}
bool has_fast() {
#if defined(__linux__)
  constexpr unsigned long kCrcBit = 1ul << 7;
  return (getauxval(AT_HWCAP) & kCrcBit) != 0;
#else
  return true;  // every Apple processor of this architecture
#endif
}
#else
uint32_t crc_fast(uint32_t crc, const uint8_t* p, size_t n) {
  return ~crc32c_portable(~crc, p, n);
}
bool has_fast() { return false; }
#endif

}  // namespace

uint32_t crc32c_portable(uint32_t crc, const void* data, size_t bytes) {
  const auto* p = static_cast<const uint8_t*>(data);
  uint32_t c = ~crc;
  for (; bytes >= 8; bytes -= 8, p += 8) {
    const uint32_t low = c ^ (uint32_t{p[0]} | uint32_t{p[1]} << 8 | uint32_t{p[2]} << 16 |
                              uint32_t{p[3]} << 24);
    c = kTables[7][low & 255u] ^ kTables[6][(low >> 8) & 255u] ^ kTables[5][(low >> 16) & 255u] ^
        kTables[4][low >> 24] ^ kTables[3][p[4]] ^ kTables[2][p[5]] ^ kTables[1][p[6]] ^
        kTables[0][p[7]];
  }
  for (; bytes > 0; --bytes, ++p) c = (c >> 8) ^ kTables[0][(c ^ *p) & 255u];
  return ~c;
}

uint32_t crc32c(uint32_t crc, const void* data, size_t bytes) {
  static const bool fast = has_fast();
  if (!fast) return crc32c_portable(crc, data, bytes);
  return ~crc_fast(~crc, static_cast<const uint8_t*>(data), bytes);
}

}  // namespace hive
