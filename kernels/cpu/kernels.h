// The table of functions that one instruction set of the CPU backend provides.
//
// A key is the metric's native value turned so that greater is closer (the value itself for cosine
// and dot, its negation for l2, l1 and linf). Negation is exact, so keys order as values do.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hive::cpu {

// Rows [0, count) of one dtype, row-major without padding.
struct RowsView {
  const void* data;
  const float* scales;     // dtypes with a row scale
  const float* inv_norms;  // cosine
};

struct QueryView {
  const float* padded;  // dim elements, then zeros up to a multiple of 32
  float inv_norm;
};

// Rows a scan step takes at most: one bit each in the mask that scan returns.
inline constexpr uint32_t kScanRows = 64;

// Keys of rows [first, first + count), count <= 64. Bit i of the result is set when keys[i] is at
// least threshold.
using ScanFn = uint64_t (*)(const RowsView& rows, uint32_t first, uint32_t count, uint32_t dim,
                            const QueryView& query, float threshold, float* keys);

// As ScanFn for the rows at slots[0 .. count), which may lie anywhere. Rows at slots[count ..
// count + ahead) are asked for in advance.
using GatherFn = uint64_t (*)(const RowsView& rows, const uint32_t* slots, uint32_t count,
                              uint32_t ahead, uint32_t dim, const QueryView& query, float threshold,
                              float* keys);

// Predicates over a column of unsigned values: bit i % 64 of out[i / 64] is set when values[i]
// passes, for i < count; spare bits are 0. lo <= hi; both, and the list, fit the type.
using RangeFn = void (*)(const void* values, uint32_t count, uint64_t lo, uint64_t hi,
                         uint64_t* out);
using EqualFn = void (*)(const void* values, uint32_t count, const uint64_t* list, uint32_t length,
                         uint64_t* out);

// Set bits of words[i] & mask[i], i < count; mask may be null. Baseline x86-64 has no instruction for
// it, so it belongs here.
using CountFn = uint64_t (*)(const uint32_t* words, const uint32_t* mask, size_t count);

// First pass of a batch: one panel of queries against a block of decoded rows.
struct PanelArgs {
  const float* rows;  // [count][dim]
  uint32_t count;     // <= kScanRows
  uint32_t dim;
  const float* panel;  // [dim][width of the panel]
  // The test of a (row, query) pair: survives when
  //   sum forms (cosine, dot, l2):  dot >= fma(row_term[row], query_factor[q], query_bias[q])
  //   l1, linf:                     distance <= query_bias[q]
  // A NaN on either side survives.
  const float* row_term;
  const float* query_factor;
  const float* query_bias;
  // Survivors, row * 256 + query; room for count * width.
  uint32_t* survivors;
};
using PanelFn = uint32_t (*)(const PanelArgs& args);  // number of survivors

enum PanelKind : uint32_t { kPanelDot = 0, kPanelL1 = 1, kPanelLinf = 2, kPanelKinds = 3 };

// Why a row cannot be stored.
enum class RowFault : uint32_t { kNone = 0, kNonFinite, kOverflow, kNormTooLarge };

struct EncodeResult {
  RowFault fault = RowFault::kNone;
  uint32_t row = 0;      // first bad row, counted from the start of the call
  uint32_t element = 0;  // first bad element in it; 0 for kNormTooLarge
};

// Stores count rows of f32 in a dtype: checks, converts, measures. data, scales (may be null for
// dtypes without), inv_norms are outputs; nothing is promised about them when a fault is returned.
using EncodeFn = EncodeResult (*)(const float* source, uint32_t count, uint32_t dim, void* data,
                                  float* scales, float* inv_norms);
// Decodes count rows to f32.
using DecodeFn = void (*)(const void* data, const float* scales, uint32_t count, uint32_t dim,
                          float* out);

struct CpuKernels {
  const char* name;
  ScanFn scan[5][4];                // [metric][dtype]
  uint32_t panel_width[3];          // widths of the panels, widest first; 0 ends the list
  PanelFn panel[kPanelKinds][3];    // [kind][index of the width]
  EncodeFn encode[4];               // [dtype]
  DecodeFn decode[4];
  GatherFn gather[5][4];            // [metric][dtype]
  RangeFn range[4];                 // u8, u16, u32, u64
  EqualFn equal[4];
  CountFn count_bits;
};

const CpuKernels* scalar_kernels();
// Null when the build or this machine lacks the instruction set.
const CpuKernels* avx2_kernels();
const CpuKernels* avx512_kernels();
const CpuKernels* neon_kernels();

// Largest l2 norm of a stored row or a query: no metric can overflow f32 below it.
inline constexpr double kNormMax = 9e18;
// Norms below this count as zero for cosine.
inline constexpr double kNormMin = 1e-30;

}  // namespace hive::cpu
