// The table of one SIMD instruction set. Included like simd_scan.h, last.

template <uint32_t Kind, uint32_t Index>
constexpr PanelFn panel_of() {
  if constexpr (Simd::kPanelVectors[Index] == 0) return nullptr;
  else return panel<Kind, Simd::kPanelVectors[Index]>;
}

#define HIVE_SCAN_ROW(M) {scan<M, 0>, scan<M, 1>, scan<M, 2>, scan<M, 3>}
#define HIVE_GATHER_ROW(M) {gather<M, 0>, gather<M, 1>, gather<M, 2>, gather<M, 3>}
#define HIVE_PANEL_ROW(K) {panel_of<K, 0>(), panel_of<K, 1>(), panel_of<K, 2>()}
#define HIVE_SIMD_TABLE(NAME)                                                                     \
  constexpr CpuKernels kTable = {                                                                 \
      NAME,                                                                                       \
      {HIVE_SCAN_ROW(0), HIVE_SCAN_ROW(1), HIVE_SCAN_ROW(2), HIVE_SCAN_ROW(3), HIVE_SCAN_ROW(4)}, \
      {Simd::kPanelVectors[0] * kW, Simd::kPanelVectors[1] * kW, Simd::kPanelVectors[2] * kW},    \
      {HIVE_PANEL_ROW(kPanelDot), HIVE_PANEL_ROW(kPanelL1), HIVE_PANEL_ROW(kPanelLinf)},          \
      {encode<0>, encode<1>, encode<2>, encode<3>},                                               \
      {decode<0>, decode<1>, decode<2>, decode<3>},                                               \
      {HIVE_GATHER_ROW(0), HIVE_GATHER_ROW(1), HIVE_GATHER_ROW(2), HIVE_GATHER_ROW(3),            \
       HIVE_GATHER_ROW(4)},                                                                       \
      {range<uint8_t>, range<uint16_t>, range<uint32_t>, range<uint64_t>},                        \
      {equal<uint8_t>, equal<uint16_t>, equal<uint32_t>, equal<uint64_t>},                        \
      count_bits,                                                                                 \
  }
