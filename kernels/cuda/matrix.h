// K1: a first pass for many queries of the dot family on the matrix units, with a proven bound.
//
// Rows and queries are rounded to bfloat16 (f32, bf16 rows) or binary16 (f16, i8 rows; the query
// scaled by a power of two), multiplied exactly and added in binary32. With e the sum of the
// relative roundings, |approximate - exact| <= e |x| |y| (Cauchy) plus the rounding of the sums,
// d 2^-22 |x| |y|, and `absolute` for what underflows; the host sends both as Margins. For every
// pair the kernel knows lower and upper bounds of the value: lower bounds feed the threshold, rows
// whose upper bound reaches it become candidates, and the finish kernel computes their values. So
// the answer is that of the exact scan.
//
// A row element is used by all queries of the block from registers: rows are read once per group
// of 8 NT queries, straight into the register layout of the multiplication (the order of elements
// within a row does not matter as long as both sides agree). Queries wait in shared memory in the
// order the lanes need them.
#pragma once

#include "scan.h"

#if defined(HIVE_HAS_MATRIX)

namespace hive::gpu {

// How 16 bytes of a row become operands: kSteps multiplications of 16 elements per 64-byte chunk
// (4 lanes x 16 bytes).
template <class T>
struct Operand;
template <>
struct Operand<F32> {
  static constexpr uint32_t kSteps = 1;
  static constexpr bool kHalf = false;
  static HIVE_DEVICE void unpack(const uint4& raw, uint32_t (&out)[1][2]) {
    out[0][0] = pack_bf16(float_of(raw.x), float_of(raw.y));
    out[0][1] = pack_bf16(float_of(raw.z), float_of(raw.w));
  }
};
template <>
struct Operand<BF16> {
  static constexpr uint32_t kSteps = 2;
  static constexpr bool kHalf = false;
  static HIVE_DEVICE void unpack(const uint4& raw, uint32_t (&out)[2][2]) {
    out[0][0] = raw.x;
    out[0][1] = raw.y;
    out[1][0] = raw.z;
    out[1][1] = raw.w;
  }
};
template <>
struct Operand<F16> : Operand<BF16> {
  static constexpr bool kHalf = true;
};
template <>
struct Operand<I8> {
  static constexpr uint32_t kSteps = 4;
  static constexpr bool kHalf = true;
  static HIVE_DEVICE void word(uint32_t raw, uint32_t (&out)[2]) {
    const uint32_t flipped = raw ^ 0x80808080u;
    out[0] = pack_f16(I8::element(flipped, 0), I8::element(flipped, 8));
    out[1] = pack_f16(I8::element(flipped, 16), I8::element(flipped, 24));
  }
  static HIVE_DEVICE void unpack(const uint4& raw, uint32_t (&out)[4][2]) {
    word(raw.x, out[0]);
    word(raw.y, out[1]);
    word(raw.z, out[2]);
    word(raw.w, out[3]);
  }
};

// Chunks of 64 bytes that are loaded together per row.
inline constexpr uint32_t kChunks = 2;

// What a row contributes to the bounds: u = sum * a * p + b * s + c (p, s of the query).
struct RowTerms {
  float a, b, upper, lower;
};

template <uint32_t NT>
struct MatrixState {
  uint32_t threshold[NT * 8];
  uint32_t greatest[NT * 8][kWarps];  // lower bounds, since the last publication
  float product[NT * 8];  // p
  float spread[NT * 8];   // s
  float offset[NT * 8];   // added to upper bounds, for a lower one see lower_offset
  float lower_offset[NT * 8];
  uint32_t cancelled;
};

HIVE_DEVICE float norm_of(float inv_norm) {
  return inv_norm > 0 ? 1.0000003f / inv_norm : 1e-30f;
}

// The bounds of a pair are
//   cosine  sum ix iy +- (relative + absolute ix iy)
//   dot     sum +- (relative |x| |y| + absolute)
//   l2      -(|x|^2 + |y|^2) + 2 sum +- (relative (|x|^2 + |y|^2) + 2 absolute)
HIVE_DEVICE RowTerms row_terms(const ScanArgs& args, float inv_norm, float scale) {
  const float relative = args.margins.relative;
  const float absolute = args.margins.absolute;
  if (args.metric == kCosine) return {inv_norm * scale, absolute * inv_norm, 0, 0};
  const float norm = norm_of(inv_norm);
  if (args.metric == kDot) return {scale, relative * norm, 0, 0};
  return {2 * scale, 0, -norm * norm * (1 - relative), -norm * norm * (1 + relative)};
}

template <uint32_t NT>
HIVE_DEVICE void query_terms(const ScanArgs& args, uint32_t first, uint32_t count,
                             MatrixState<NT>& state) {
  const float relative = args.margins.relative;
  const float absolute = args.margins.absolute;
  for (uint32_t i = thread_index(); i < NT * 8; i += kBlockThreads) {
    const float inv_norm = i < count ? args.query_terms[first + i] : 0;
    // The power of two that the query was scaled by; its inverse is applied to the sums.
    const float back = i < count ? args.query_terms[2 * args.query_count + first + i] : 0;
    const float norm = i < count ? args.query_terms[args.query_count + first + i] : 0;
    if (args.metric == kCosine) {
      state.product[i] = inv_norm * back;
      state.spread[i] = inv_norm;
      state.offset[i] = relative;
      state.lower_offset[i] = -relative;
    } else if (args.metric == kDot) {
      state.product[i] = back;
      state.spread[i] = norm;
      state.offset[i] = absolute;
      state.lower_offset[i] = -absolute;
    } else {
      state.product[i] = back;
      state.spread[i] = 0;
      state.offset[i] = -norm * norm * (1 - relative) + 2 * absolute;
      state.lower_offset[i] = -norm * norm * (1 + relative) - 2 * absolute;
    }
  }
}

// Queries into the order of the second operand: [step][pair of n-tiles][lane] of 16 bytes.
template <class T, uint32_t NT>
HIVE_DEVICE void place_operands(const ScanArgs& args, uint32_t first, uint32_t count,
                                uint32_t steps, uint32_t* shared) {
  using O = Operand<T>;
  constexpr uint32_t kChunkElements = 16 * O::kSteps;
  for (uint32_t i = thread_index(); i < steps * NT * 32; i += kBlockThreads) {
    const uint32_t lane = i % 32;
    const uint32_t tile = i / 32 % NT;
    const uint32_t step = i / 32 / NT;
    const uint32_t q = tile * 8 + lane / 4;
    const uint32_t element = step / O::kSteps * kChunkElements + lane % 4 * (4 * O::kSteps) +
                             step % O::kSteps * 4;
    float y[4] = {0, 0, 0, 0};
    if (q < count) {
      // Scaling by a power of two is exact.
      const float there = O::kHalf ? args.query_terms[3 * args.query_count + first + q] : 1.0f;
      const float* query = args.queries + uint64_t{first + q} * args.dim_padded;
      for (uint32_t e = 0; e < 4; ++e) {
        if (element + e < args.dim) y[e] = query[element + e] * there;
      }
    }
    uint32_t* to = shared + (uint64_t{step * (NT / 2) + tile / 2} * 32 + lane) * 4 + tile % 2 * 2;
    to[0] = O::kHalf ? pack_f16(y[0], y[1]) : pack_bf16(y[0], y[1]);
    to[1] = O::kHalf ? pack_f16(y[2], y[3]) : pack_bf16(y[2], y[3]);
  }
}

HIVE_DEVICE void load_chunks(const unsigned char* const (&rows)[2], uint32_t offset,
                             uint32_t row_bytes, uint4 (&raw)[2][kChunks]) {
#pragma unroll
  for (uint32_t r = 0; r < 2; ++r) {
#pragma unroll
    for (uint32_t j = 0; j < kChunks; ++j) {
      const uint32_t at = offset + j * 64;
      raw[r][j] = at < row_bytes ? stream16(rows[r] + at) : uint4{0, 0, 0, 0};
    }
  }
}

// Sums of 16 rows (lane: rows lane / 4 and lane / 4 + 8) against 8 NT queries.
template <class T, uint32_t NT>
HIVE_DEVICE void multiply(const ScanArgs& args, const unsigned char* const (&rows)[2],
                          const uint32_t* operands, float (&sums)[NT][4]) {
  using O = Operand<T>;
  const uint32_t lane = thread_index() % 32;
#pragma unroll
  for (uint32_t n = 0; n < NT; ++n) {
#pragma unroll
    for (uint32_t e = 0; e < 4; ++e) sums[n][e] = 0;
  }
  constexpr uint32_t kBytes = 64 * kChunks;
  const uint32_t mine = lane % 4 * 16;
  uint4 next[2][kChunks];
  load_chunks(rows, mine, args.row_bytes, next);
  const uint32_t* operand = operands + lane * 4;
  for (uint32_t offset = 0; offset < args.row_bytes; offset += kBytes) {
    uint4 now[2][kChunks];
#pragma unroll
    for (uint32_t i = 0; i < 2 * kChunks; ++i) now[i % 2][i / 2] = next[i % 2][i / 2];
    load_chunks(rows, offset + kBytes + mine, args.row_bytes, next);
#pragma unroll
    for (uint32_t j = 0; j < kChunks; ++j) {
      uint32_t low[O::kSteps][2];
      uint32_t high[O::kSteps][2];
      O::unpack(now[0][j], low);
      O::unpack(now[1][j], high);
#pragma unroll
      for (uint32_t m = 0; m < O::kSteps; ++m) {
        const uint32_t a[4] = {low[m][0], high[m][0], low[m][1], high[m][1]};
#pragma unroll
        for (uint32_t n = 0; n < NT; n += 2) {
          const uint4 b = *reinterpret_cast<const uint4*>(operand);
          operand += 32 * 4;
          if constexpr (O::kHalf) {
            matrix_f16(sums[n], a, b.x, b.y);
            matrix_f16(sums[n + 1], a, b.z, b.w);
          } else {
            matrix_bf16(sums[n], a, b.x, b.y);
            matrix_bf16(sums[n + 1], a, b.z, b.w);
          }
        }
      }
    }
  }
}

// Looks, a few hundred nanoseconds apart, before a block goes on without the others.
inline constexpr uint32_t kPatience = 64;

HIVE_DEVICE bool publishes(uint32_t step) { return (step & (step + 1)) == 0; }

// Takes up the thresholds that are known, looking up to `tries` times for one. By the whole block.
template <uint32_t NT>
HIVE_DEVICE void take_thresholds(const ScanArgs& args, MatrixState<NT>& state,
                                 uint32_t first_query, uint32_t count, uint32_t tries) {
  block_barrier();
  for (uint32_t q = thread_index(); q < count; q += kBlockThreads) {
    uint32_t found = 0;
    for (uint32_t i = 0; i < tries && found == 0; ++i) {
      if (i > 0) pause();
      found = load_shared_state(args.thresholds_found + first_query + q);
    }
    state.threshold[q] = found;
  }
  block_barrier();
}

// Publishes the block's maxima; blocks share the work of finding the thresholds. In the first step
// it waits a little for the others, but never on blocks that may not be running.
template <uint32_t NT>
HIVE_DEVICE void exchange(const ScanArgs& args, MatrixState<NT>& state, uint32_t step,
                          uint32_t first_query, uint32_t count) {
  const uint32_t warp = thread_index() / 32;
  const uint32_t lane = thread_index() % 32;
  uint32_t* published = args.published + block_y();
  block_barrier();
  for (uint32_t i = thread_index(); i < count * kWarps; i += kBlockThreads) {
    const uint32_t most = state.greatest[i / kWarps][i % kWarps];
    if (most != 0) atomic_max(maximum_of(args, first_query + i / kWarps, i % kWarps), most);
  }
  if (step == 0) {
    fence_device();
    block_barrier();
    if (thread_index() == 0) {
      atomic_add(published, 1);
      const uint32_t enough = (grid_x() * 3 + 3) / 4;
      for (uint32_t i = 0; i < kPatience && load_shared_state(published) < enough; ++i) pause();
    }
    block_barrier();
  }
  for (uint32_t q = block_x() + warp * grid_x(); q < count; q += kWarps * grid_x()) {
    uint32_t there = 0;
    const uint32_t found = find_threshold(args, first_query + q, lane, &there);
    if (lane == 0 && found != 0) atomic_max(args.thresholds_found + first_query + q, found);
  }
  take_thresholds<NT>(args, state, first_query, count, step == 0 ? kPatience : 1);
}

// Lower bounds of 16 rows into the block's maxima.
template <uint32_t NT>
HIVE_DEVICE void note_lower(MatrixState<NT>& state, const RowTerms (&terms)[2], uint32_t alive,
                            const float (&sums)[NT][4]) {
  const uint32_t lane = thread_index() % 32;
#pragma unroll
  for (uint32_t n = 0; n < NT; ++n) {
#pragma unroll
    for (uint32_t e = 0; e < 2; ++e) {
      const uint32_t q = n * 8 + lane % 4 * 2 + e;
      uint32_t best = 0;
#pragma unroll
      for (uint32_t r = 0; r < 2; ++r) {
        if ((alive >> r & 1u) == 0) continue;
        const RowTerms& t = terms[r];
        const float low = fused(sums[n][2 * r + e] * t.a, state.product[q],
                                fused(-t.b, state.spread[q], t.lower)) + state.lower_offset[q];
        const uint32_t key = key_of(low);
        best = key > best ? key : best;
      }
#pragma unroll
      for (uint32_t mask = 16; mask >= 4; mask /= 2) {
        const uint32_t other = shuffle_xor(best, static_cast<int>(mask));
        best = other > best ? other : best;
      }
      uint32_t& slot = state.greatest[q][thread_index() / 32];
      if (lane < 4 && best > slot) slot = best;
    }
  }
}

template <uint32_t NT>
HIVE_DEVICE void keep_upper(const ScanArgs& args, MatrixState<NT>& state,
                            const RowTerms (&terms)[2], uint32_t alive,
                            const float (&sums)[NT][4], uint32_t first_query, uint32_t count,
                            uint32_t position) {
  const uint32_t lane = thread_index() % 32;
#pragma unroll
  for (uint32_t n = 0; n < NT; ++n) {
#pragma unroll
    for (uint32_t e = 0; e < 2; ++e) {
      const uint32_t q = n * 8 + lane % 4 * 2 + e;
      const uint32_t threshold = state.threshold[q];
      // In floats: one addition instead of a key per pair. 0 lets everything pass.
      const float least = threshold == 0 ? -INFINITY : closeness_of(threshold);
#pragma unroll
      for (uint32_t r = 0; r < 2; ++r) {
        const RowTerms& t = terms[r];
        const float high = fused(sums[n][2 * r + e] * t.a, state.product[q],
                                 fused(t.b, state.spread[q], t.upper)) + state.offset[q];
        if ((alive >> r & 1u) != 0 && !(high < least) && q < count) {
          add_candidate(args, first_query + q, key_of(high), position + r * 8);
        }
      }
    }
  }
}

template <class T, uint32_t NT>
HIVE_DEVICE void matrix_kernel(const ScanArgs& args) {
  constexpr uint32_t NQ = NT * 8;
  auto& state = *reinterpret_cast<MatrixState<NT>*>(shared_memory());
  auto* operands =
      reinterpret_cast<uint32_t*>(shared_memory() + (sizeof(MatrixState<NT>) + 15) / 16 * 16);
  const uint32_t lane = thread_index() % 32;
  const uint32_t warp = thread_index() / 32;
  const uint32_t first_query = block_y() * NQ;
  const uint32_t left = args.query_count - first_query;
  const uint32_t count = left < NQ ? left : NQ;
  const uint32_t chunks = (args.row_bytes + 64 * kChunks - 1) / (64 * kChunks) * kChunks;
  for (uint32_t i = thread_index(); i < NQ; i += kBlockThreads) {
    state.threshold[i] = 0;
    for (uint32_t w = 0; w < kWarps; ++w) state.greatest[i][w] = 0;
  }
  query_terms<NT>(args, first_query, count, state);
  place_operands<T, NT>(args, first_query, count, chunks * Operand<T>::kSteps, operands);
  block_barrier();
  uint32_t searched = 0;
  uint32_t step = 0;
  for (uint32_t tile = block_x(); tile < args.tile_count; tile += grid_x(), ++step) {
    const SegmentRef& segment = segment_of(args, tile);
    const uint32_t row0 = (tile - segment.first_tile) * kTileRows + warp * 32;
    const uint32_t word = rows_searched(segment, row0);
    searched += bit_count(word);
    for (uint32_t half = 0; half < 2; ++half) {
      const uint32_t local = half * 16 + lane / 4;
      const uint32_t alive = ((word >> local) & 1u) | ((word >> (local + 8)) & 1u) << 1;
      const bool any = ((word >> (half * 16)) & 0xffffu) != 0;
      float sums[NT][4];
      RowTerms terms[2];
      if (any) {
        const unsigned char* rows[2];
#pragma unroll
        for (uint32_t r = 0; r < 2; ++r) {
          uint32_t row = row0 + local + r * 8;
          if (row >= segment.rows) row = segment.rows - 1;
          rows[r] = segment.data + uint64_t{row} * args.row_bytes;
          terms[r] = row_terms(args, segment.inv_norms[row], T::kScaled ? segment.scales[row] : 1);
        }
        multiply<T, NT>(args, rows, operands, sums);
        if (publishes(step)) note_lower<NT>(state, terms, alive, sums);
      }
      // The first 16 rows of every warp give the threshold that the rest is kept by.
      if (step == 0 ? half == 0 : publishes(step) && half == 1) {
        exchange<NT>(args, state, step, first_query, count);
      } else if (half == 0 && publishes(step - 1)) {
        take_thresholds<NT>(args, state, first_query, count, 1);
      }
      if (any) {
        keep_upper<NT>(args, state, terms, alive, sums, first_query, count,
                       tile * kTileRows + warp * 32 + local);
      }
    }
    if (step % kCancelEvery == kCancelEvery / 2) {
      block_barrier();
      if (thread_index() == 0) state.cancelled = load_shared_state(args.cancel) == args.sequence;
      block_barrier();
      if (state.cancelled != 0) break;
    }
  }
  if (args.count_rows != 0 && block_y() == 0 && lane == 0 && searched != 0) {
    atomic_add(args.scanned, searched);
  }
}

}  // namespace hive::gpu

#endif  // HIVE_HAS_MATRIX
