// What the host passes to the kernels: plain structs that host code, device code and the CPU model
// of the device read alike.
//
// Positions: the rows of a job are numbered through in tiles of kTileRows. A segment starts at a
// tile boundary, so position = first_tile * kTileRows + slot, ascending in (segment, slot).
// Keys: closeness as an unsigned number, greater is closer; 0 is "no row". A candidate is
// key << 32 | ~position, so one unsigned comparison orders by closeness, then by position.
#pragma once

#include <cstdint>

namespace hive::gpu {

inline constexpr uint32_t kBlockThreads = 256;
inline constexpr uint32_t kWarps = kBlockThreads / 32;
inline constexpr uint32_t kTileRows = 256;  // one 32-bit word of a bitset per warp
// Greatest k of the fused path; a threshold needs more than k maxima to be of use.
inline constexpr uint32_t kFusedK = 128;
// Maxima kept per query at most.
inline constexpr uint32_t kMaximaMost = 512;
// Candidates that a block sorts in shared memory.
inline constexpr uint32_t kSortMost = 1024;
inline constexpr uint32_t kInlineSegments = 24;
inline constexpr uint32_t kInlineFloats = 512;

struct SegmentRef {
  const unsigned char* data;
  const float* inv_norms;
  const float* scales;      // null: no row scale
  const uint32_t* live;     // null: every slot
  const uint32_t* filter;   // null: every slot
  uint32_t live_bits;       // slots beyond count as set
  uint32_t filter_bits;
  uint32_t rows;
  uint32_t first_tile;
};

// Error terms of the matrix pass (see matrix.h).
struct Margins {
  float relative;  // bound of |approximate - exact| over |x| |y|
  float absolute;  // what underflow can add
};

struct ScanArgs {
  uint32_t metric;
  uint32_t dim;
  uint32_t dim_padded;   // floats from one query to the next; a multiple of 32, zeros at the end
  uint32_t row_bytes;    // bytes from one row to the next; a multiple of 16, zeros at the end
  uint32_t query_count;  // of this launch
  uint32_t k;
  uint32_t segment_count;
  uint32_t tile_count;
  uint32_t thresholds;     // 0: every row is a candidate
  uint32_t dense;          // 1: keys of all rows go to `keys`, nothing is selected
  uint32_t maxima_count;   // per query; a warp's maximum goes to its number modulo this
  uint32_t capacity;       // candidates kept per query; more is an overflow
  uint32_t finish;         // 1: the last block selects; otherwise a finish kernel follows
  uint32_t first_query;    // of the job, for the outputs
  uint32_t count_rows;     // 1: add up the rows whose bits are set
  uint32_t flag_value;     // written to *flag when the wave is over; 0: not by this launch
  uint32_t sequence;       // number of the wave
  uint32_t report_rows;    // 1: *scanned goes to *out_scanned with the flag
  uint32_t rerank;         // 1: candidates carry bounds, the finish kernel computes their values
  Margins margins;
  const SegmentRef* table;      // null: inline_segments
  const float* queries;         // [query_count][dim_padded]; null: inline_queries
  const float* query_terms;     // [query_count] inverse norms
  uint32_t* maxima;             // [query_count][maxima_count], zero before and after
  uint32_t* thresholds_found;   // [query_count], zero before and after
  uint32_t* counts;             // [query_count], zero before and after
  uint32_t* published;          // [gridDim.y], zero before and after
  uint32_t* done;               // one word, zero before and after
  unsigned long long* scanned;  // rows whose bits are set, summed over the job
  uint64_t* candidates;         // [query_count][capacity]
  uint32_t* keys;               // [query_count][tile_count * kTileRows], dense only
  uint64_t* out;                // host memory, [queries of the job][k] candidates, closest first
  uint32_t* out_counts;         // host memory, per query: hits, or kOverflow
  unsigned long long* out_scanned;  // host memory
  uint32_t* flag;               // host memory
  const uint32_t* cancel;       // equal to `sequence`: stop soon, the result will not be used
  float inline_terms[8];
  SegmentRef inline_segments[kInlineSegments];
  float inline_queries[kInlineFloats];
};
static_assert(sizeof(ScanArgs) <= 4096, "kernel parameters are limited to 4 KiB");

// In out_counts: more candidates than fit; the query has to be asked again on the dense path.
inline constexpr uint32_t kOverflow = 0xffffffffu;

// Radix selection over dense keys, one query per blockIdx.y. A pass looks at one digit of the
// 64-bit candidates; 6 passes of 11, 11, 10 bits for the key and the same for the position.
inline constexpr uint32_t kDigitBins = 2048;
struct SelectState {
  uint64_t prefix;   // digits of the k-th candidate found so far
  uint32_t wanted;   // rank of the k-th candidate among those with that prefix
  uint32_t settled;  // 1: every candidate with the prefix belongs to the result
  uint32_t collected;
  uint32_t hits;     // min(k, valid rows)
};
struct SelectArgs {
  uint32_t pass;
  uint32_t positions;  // keys per query
  uint32_t k;
  uint32_t query_count;
  const uint32_t* keys;
  uint32_t* bins;       // [query_count][kDigitBins], zero before and after
  SelectState* states;  // [query_count]
  uint64_t* out;        // host memory, [query_count][k], in no order
  uint32_t* out_counts;
  unsigned long long* scanned;
  unsigned long long* out_scanned;
  uint32_t* flag;
  uint32_t flag_value;
};

}  // namespace hive::gpu
