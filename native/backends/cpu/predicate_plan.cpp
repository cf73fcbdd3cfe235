#include "predicate_plan.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

namespace hive::cpu {
namespace {

// Rows of a block: a bitset of it is 512 bytes, so the whole stack stays in the first cache.
constexpr uint32_t kBlock = 4096;
constexpr uint32_t kBlockWords = kBlock / 64;
// Rows of a tile: what one worker takes at a time.
constexpr uint32_t kTile = 65536;
// Up to this many constants, comparing with each beats looking each value up.
constexpr uint32_t kCompareMax = 24;

constexpr int kPops[] = {
#define HIVE_PREDICATE(NAME, name, number, pops, pushes) pops,
#include "hive_predicates.def"
#undef HIVE_PREDICATE
};
constexpr int kPushes[] = {
#define HIVE_PREDICATE(NAME, name, number, pops, pushes) pushes,
#include "hive_predicates.def"
#undef HIVE_PREDICATE
};

uint32_t width(uint32_t encoding) { return 1u << encoding; }

bool reads_column(uint32_t opcode) {
  return opcode >= HIVE_PREDICATE_PRESENT && opcode <= HIVE_PREDICATE_LENGTH;
}

std::string check_leaf(const hive_predicate_op& op, const Column& column, uint32_t word_count,
                       const uint32_t* words) {
  const uint32_t e = column.encoding;
  const auto fits = [&](uint64_t first, uint64_t count) { return first + count <= word_count; };
  switch (op.opcode) {
    case HIVE_PREDICATE_PRESENT:
      return "";
    case HIVE_PREDICATE_RANGE: {
      if (e > HIVE_COLUMN_U64) return "range needs a column of numbers";
      if (e == HIVE_COLUMN_U64) {
        if (!fits(op.a, 2) || !fits(op.b, 2)) return "a constant lies outside the words";
        const auto key = [&](uint32_t i) { return uint64_t{words[i + 1]} << 32 | words[i]; };
        return key(op.a) <= key(op.b) ? "" : "the bounds of a range are in the wrong order";
      }
      const uint64_t most = (uint64_t{1} << (8 * width(e))) - 1;
      return op.a <= op.b && op.b <= most ? "" : "the bounds of a range are wrong";
    }
    case HIVE_PREDICATE_IN_LIST:
      if (e > HIVE_COLUMN_U64) return "in_list needs a column of numbers";
      if (op.b < 1) return "in_list needs a constant";
      return fits(op.a, uint64_t{op.b} * (e == HIVE_COLUMN_U64 ? 2 : 1))
                 ? ""
                 : "a constant lies outside the words";
    case HIVE_PREDICATE_IN_SET:
      if (e == HIVE_COLUMN_U64 || e == HIVE_COLUMN_PRESENCE) return "in_set needs codes";
      return fits(op.a, (uint64_t{op.b} + 31) / 32) ? "" : "a set lies outside the words";
    default:
      return e == HIVE_COLUMN_LIST ? "" : "length needs a list column";
  }
}

uint64_t load64(const uint32_t* words, size_t at) {
  uint64_t out;
  std::memcpy(&out, words + at, sizeof out);
  return out;
}

// The 64 bits from slot `first` on of a bitset of `count` slots; `beyond` past its end.
uint64_t word_of(const uint32_t* words, uint32_t count, uint32_t first, bool beyond) {
  const uint64_t rest = beyond ? ~uint64_t{0} : 0;
  if (first >= count) return rest;
  const uint32_t known = count - first;
  if (known >= 64) return load64(words, first / 32);
  uint64_t out = words[first / 32];
  if (known > 32) out |= uint64_t{words[first / 32 + 1]} << 32;
  const uint64_t mask = (uint64_t{1} << known) - 1;
  return (out & mask) | (rest & ~mask);
}

}  // namespace

struct PredicatePlan::Block {
  const PredicateSegment& segment;
  uint32_t first;
  uint32_t count;
  uint32_t words() const { return (count + 63) / 64; }
};

std::string check_program(const PredicateSegment& segment, uint32_t word_count,
                          const uint32_t* words) {
  int depth = 0;
  for (uint32_t i = 0; i < segment.op_count; ++i) {
    const hive_predicate_op& op = segment.ops[i];
    if (op.opcode >= HIVE_PREDICATE_COUNT) return "the opcode is unknown";
    depth -= kPops[op.opcode];
    if (depth < 0) return "the stack runs empty";
    depth += kPushes[op.opcode];
    if (depth > HIVE_PREDICATE_STACK) return "the stack overflows";
    if (op.opcode == HIVE_PREDICATE_SKIP_ZEROS || op.opcode == HIVE_PREDICATE_SKIP_ONES) {
      if (depth < 1 || op.a >= segment.op_count - i) return "a skip leaves the program";
    }
    if (!reads_column(op.opcode)) continue;
    if (op.column >= segment.columns.size()) return "the column does not exist";
    const std::string wrong = check_leaf(op, *segment.columns[op.column], word_count, words);
    if (!wrong.empty()) return wrong;
  }
  return depth == 1 ? "" : "the program does not leave exactly one bitset";
}

PredicatePlan::PredicatePlan(const CpuKernels& kernels, std::vector<PredicateSegment> segments,
                             const uint32_t* words, std::function<void()> done)
    : kernels_(kernels),
      segments_(std::move(segments)),
      words_(words),
      done_(std::move(done)) {
  for (uint32_t s = 0; s < segments_.size(); ++s) {
    PredicateSegment& segment = segments_[s];
    if (segment.passing != nullptr) *segment.passing = 0;
    for (uint32_t first = 0; first < segment.row_count; first += kTile) {
      tiles_.push_back({s, first, std::min(kTile, segment.row_count - first)});
    }
  }
}

void PredicatePlan::prepare(Worker& worker) const {
  worker.rows = 0;
  worker.stack.resize(size_t{HIVE_PREDICATE_STACK} * kBlockWords);
}

void PredicatePlan::run_tile(uint32_t index, Worker& worker) const {
  const Tile& tile = tiles_[index];
  const PredicateSegment& s = segments_[tile.segment];
  uint32_t passing = 0;
  for (uint32_t first = tile.first; first < tile.first + tile.count; first += kBlock) {
    const Block block{s, first, std::min(kBlock, tile.first + tile.count - first)};
    uint64_t* top = worker.stack.data();
    evaluate(block, top);
    for (uint32_t w = 0; w < block.words(); ++w) {
      const uint32_t left = block.count - w * 64;
      if (left < 64) top[w] &= (uint64_t{1} << left) - 1;
      if (s.passing == nullptr) continue;
      const uint64_t live = s.live == nullptr
                                ? ~uint64_t{0}
                                : word_of(s.live->data(), s.live_count, first + w * 64, true);
      passing += static_cast<uint32_t>(std::popcount(top[w] & live));
    }
    const size_t bytes = (size_t{block.count} + 31) / 32 * sizeof(uint32_t);
    if (s.words != nullptr) std::memcpy(s.words + first / 32, top, bytes);
    if (s.bits != nullptr) std::memcpy(s.bits->data() + first / 32, top, bytes);
  }
  if (s.passing != nullptr) std::atomic_ref<uint32_t>(*s.passing).fetch_add(passing);
}

void PredicatePlan::finish(Worker* const*, uint32_t) const {
  if (done_) done_();
}

void PredicatePlan::evaluate(const Block& block, uint64_t* stack) const {
  const uint32_t words = block.words();
  uint32_t depth = 0;
  const auto top = [&](uint32_t back) { return stack + size_t{depth - 1 - back} * kBlockWords; };
  for (uint32_t i = 0; i < block.segment.op_count; ++i) {
    const hive_predicate_op& op = block.segment.ops[i];
    switch (op.opcode) {
      case HIVE_PREDICATE_AND:
        for (uint32_t w = 0; w < words; ++w) top(1)[w] &= top(0)[w];
        --depth;
        break;
      case HIVE_PREDICATE_OR:
        for (uint32_t w = 0; w < words; ++w) top(1)[w] |= top(0)[w];
        --depth;
        break;
      case HIVE_PREDICATE_NOT:
        for (uint32_t w = 0; w < words; ++w) top(0)[w] = ~top(0)[w];
        break;
      case HIVE_PREDICATE_SKIP_ZEROS:
      case HIVE_PREDICATE_SKIP_ONES: {
        const uint64_t same = op.opcode == HIVE_PREDICATE_SKIP_ONES ? ~uint64_t{0} : 0;
        const uint64_t* const bits = top(0);
        if (std::all_of(bits, bits + words, [&](uint64_t w) { return w == same; })) i += op.a;
        break;
      }
      default:
        ++depth;
        leaf(block, op, top(0));
    }
  }
}

void PredicatePlan::leaf(const Block& block, const hive_predicate_op& op, uint64_t* out) const {
  const uint32_t words = block.words();
  if (!reads_column(op.opcode)) {
    std::fill_n(out, words, op.opcode == HIVE_PREDICATE_TRUE ? ~uint64_t{0} : 0);
    return;
  }
  const Column& column = *block.segment.columns[op.column];
  std::fill_n(out, words, op.opcode == HIVE_PREDICATE_PRESENT ? ~uint64_t{0} : 0);
  if (op.opcode != HIVE_PREDICATE_PRESENT && block.first < column.row_count) {
    test_values(block, op, column, out);
  }
  const uint32_t covered = column.row_count;
  for (uint32_t w = 0; w < words; ++w) {
    const uint32_t first = block.first + w * 64;
    if (column.valid != nullptr) out[w] &= word_of(column.valid, covered, first, false);
    else if (first + 64 > covered) {
      out[w] &= first >= covered ? 0 : (uint64_t{1} << (covered - first)) - 1;
    }
  }
}

// Sets out for the slots whose value passes; slots without a value may come out either way.
void PredicatePlan::test_values(const Block& block, const hive_predicate_op& op,
                                const Column& column, uint64_t* out) const {
  const uint32_t count = std::min(block.count, column.row_count - block.first);
  switch (op.opcode) {
    case HIVE_PREDICATE_RANGE: {
      const bool wide = column.encoding == HIVE_COLUMN_U64;
      const uint64_t lo = wide ? constant(column, op.a) : op.a;
      const uint64_t hi = wide ? constant(column, op.b) : op.b;
      const char* values = static_cast<const char*>(column.values);
      kernels_.range[column.encoding](values + size_t{block.first} * width(column.encoding), count,
                                      lo, hi, out);
      return;
    }
    case HIVE_PREDICATE_IN_LIST:
      return in_list(block, op, column, out);
    case HIVE_PREDICATE_IN_SET:
      return in_set(block, op, column, out);
    default:
      for (uint32_t i = 0; i < count; ++i) {
        const uint32_t* offset = column.offsets + block.first + i;
        const uint32_t length = offset[1] - offset[0];
        out[i / 64] |= static_cast<uint64_t>(length >= op.a && length <= op.b) << (i % 64);
      }
  }
}

uint64_t PredicatePlan::constant(const Column& column, uint32_t at) const {
  return column.encoding == HIVE_COLUMN_U64 ? load64(words_, at) : words_[at];
}

void PredicatePlan::in_list(const Block& block, const hive_predicate_op& op, const Column& column,
                            uint64_t* out) const {
  const uint32_t count = std::min(block.count, column.row_count - block.first);
  const uint32_t step = column.encoding == HIVE_COLUMN_U64 ? 2 : 1;
  const char* values =
      static_cast<const char*>(column.values) + size_t{block.first} * width(column.encoding);
  if (op.b <= kCompareMax) {
    uint64_t list[kCompareMax];
    for (uint32_t j = 0; j < op.b; ++j) list[j] = constant(column, op.a + j * step);
    kernels_.equal[column.encoding](values, count, list, op.b, out);
    return;
  }
  const auto look_up = [&](const auto* typed) {
    for (uint32_t i = 0; i < count; ++i) {
      uint32_t low = 0;  // first constant that is not below the value
      for (uint32_t left = op.b; left > 0;) {
        const uint32_t half = left / 2;
        const bool below = constant(column, op.a + (low + half) * step) < typed[i];
        low = below ? low + half + 1 : low;
        left = below ? left - half - 1 : half;
      }
      const bool found = low < op.b && constant(column, op.a + low * step) == typed[i];
      out[i / 64] |= static_cast<uint64_t>(found) << (i % 64);
    }
  };
  switch (column.encoding) {
    case HIVE_COLUMN_U8: return look_up(reinterpret_cast<const uint8_t*>(values));
    case HIVE_COLUMN_U16: return look_up(reinterpret_cast<const uint16_t*>(values));
    case HIVE_COLUMN_U32: return look_up(reinterpret_cast<const uint32_t*>(values));
    default: return look_up(reinterpret_cast<const uint64_t*>(values));
  }
}

void PredicatePlan::in_set(const Block& block, const hive_predicate_op& op, const Column& column,
                           uint64_t* out) const {
  const uint32_t count = std::min(block.count, column.row_count - block.first);
  const uint32_t* set = words_ + op.a;
  const auto member = [&](uint32_t value) -> uint64_t {
    return value < op.b ? (set[value / 32] >> (value % 32)) & 1u : 0;
  };
  if (column.encoding == HIVE_COLUMN_LIST) {
    const uint32_t* values = static_cast<const uint32_t*>(column.values);
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t* offset = column.offsets + block.first + i;
      uint64_t any = 0;
      for (uint32_t v = offset[0]; v < offset[1] && any == 0; ++v) any = member(values[v]);
      out[i / 64] |= any << (i % 64);
    }
    return;
  }
  const auto look_up = [&](const auto* values) {
    for (uint32_t i = 0; i < count; ++i) out[i / 64] |= member(values[block.first + i]) << (i % 64);
  };
  switch (column.encoding) {
    case HIVE_COLUMN_U8: return look_up(static_cast<const uint8_t*>(column.values));
    case HIVE_COLUMN_U16: return look_up(static_cast<const uint16_t*>(column.values));
    default: return look_up(static_cast<const uint32_t*>(column.values));
  }
}

}  // namespace hive::cpu
