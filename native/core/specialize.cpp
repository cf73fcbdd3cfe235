#include "specialize.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu_backend.h"

namespace hive {
namespace {

using Node = FilterProgram::Node;

// Codes or numbers up to which a list of constants is compared one by one; more become a set.
constexpr size_t kListMax = 24;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A node after specialisation. Leaves hold one instruction.
struct Expr {
  enum class Kind { kFalse, kTrue, kLeaf, kAnd, kOr, kNot } kind = Kind::kFalse;
  hive_predicate_op op{};
  double cost = 0;     // of evaluating it for one slot, in bytes read
  uint32_t stack = 1;  // bitsets it needs
  std::vector<Expr> children;

  bool constant() const { return kind == Kind::kFalse || kind == Kind::kTrue; }
};

class Specializer {
 public:
  Specializer(const FilterProgram& program, const SnapshotSegment& segment)
      : program_(program), segment_(segment) {}

  Expr make(const Node& node);
  void emit(const Expr& expr);
  std::shared_ptr<FilterBits> run();
  uint64_t bytes() const { return bytes_; }

 private:
  static Expr truth(bool value) {
    Expr e;
    e.kind = value ? Expr::Kind::kTrue : Expr::Kind::kFalse;
    return e;
  }
  Expr leaf(const ColumnChunk& chunk, hive_predicate_op op);
  Expr present(const ColumnChunk& chunk);
  Expr range(const ColumnChunk& chunk, double low, double high);
  Expr number_range(const ColumnChunk& chunk, const Node& node);
  Expr numbers(const ColumnChunk& chunk, const Node& node);
  Expr codes(const ColumnChunk& chunk, const Node& node);
  Expr length(const ColumnChunk& chunk, const Node& node);
  Expr rows(uint32_t list);
  Expr join(const Node& node);
  uint16_t column_index(const ColumnChunk& chunk);
  uint32_t put(const ColumnChunk& chunk, double value);

  const FilterProgram& program_;
  const SnapshotSegment& segment_;
  std::vector<hive_predicate_op> ops_;
  std::vector<uint32_t> words_;
  std::vector<const ColumnChunk*> chunks_;
  std::vector<hive_column_desc> columns_;
  std::vector<std::unique_ptr<ColumnChunk>> made_;  // columns of lists of rows
  uint64_t bytes_ = 0;
};

uint16_t Specializer::column_index(const ColumnChunk& chunk) {
  const auto it = std::find(chunks_.begin(), chunks_.end(), &chunk);
  if (it != chunks_.end()) return static_cast<uint16_t>(it - chunks_.begin());
  chunks_.push_back(&chunk);
  columns_.push_back(chunk.desc());
  return static_cast<uint16_t>(chunks_.size() - 1);
}

Expr Specializer::leaf(const ColumnChunk& chunk, hive_predicate_op op) {
  Expr e;
  e.kind = Expr::Kind::kLeaf;
  op.column = column_index(chunk);
  e.op = op;
  e.cost = static_cast<double>(read_bytes(chunk)) / std::max(1u, chunk.row_count);
  if (op.opcode == HIVE_PREDICATE_PRESENT) e.cost = 0.125;
  // Looking values up costs more than reading them.
  if (op.opcode == HIVE_PREDICATE_IN_SET) e.cost = 8 + e.cost;
  return e;
}

Expr Specializer::present(const ColumnChunk& chunk) {
  if (chunk.full() && chunk.row_count >= segment_.row_count) return truth(true);
  return leaf(chunk, {HIVE_PREDICATE_PRESENT, 0, 0, 0, 0});
}

// A constant in the encoding of the chunk, into the words.
uint32_t Specializer::put(const ColumnChunk& chunk, double value) {
  const auto at = static_cast<uint32_t>(words_.size());
  if (chunk.encoding == HIVE_COLUMN_U64) {
    const uint64_t key = number_key(value);
    words_.push_back(static_cast<uint32_t>(key));
    words_.push_back(static_cast<uint32_t>(key >> 32));
  } else {
    words_.push_back(static_cast<uint32_t>(value - chunk.base));
  }
  return at;
}

// low <= value <= high, both reached by numbers of the chunk's range.
Expr Specializer::range(const ColumnChunk& chunk, double low, double high) {
  if (low > high || low > chunk.max || high < chunk.min) return truth(false);
  if (low <= chunk.min && high >= chunk.max) return present(chunk);
  low = std::max(low, chunk.min);
  high = std::min(high, chunk.max);
  hive_predicate_op op{HIVE_PREDICATE_RANGE, 0, 0, 0, 0};
  if (chunk.encoding == HIVE_COLUMN_U64) {
    op.a = put(chunk, low);
    op.b = put(chunk, high);
  } else {
    op.a = static_cast<uint32_t>(std::ceil(low) - chunk.base);
    op.b = static_cast<uint32_t>(std::floor(high) - chunk.base);
    if (std::ceil(low) > std::floor(high)) return truth(false);
  }
  return leaf(chunk, op);
}

Expr Specializer::number_range(const ColumnChunk& chunk, const Node& node) {
  double low = node.low;
  double high = node.high;
  // The next double is the next key, and for integers more than enough.
  if ((node.flags & 1u) != 0) low = std::nextafter(low, kInfinity);
  if ((node.flags & 2u) != 0) high = std::nextafter(high, -kInfinity);
  return range(chunk, low, high);
}

Expr Specializer::numbers(const ColumnChunk& chunk, const Node& node) {
  std::vector<double> list;
  for (const double value : node.numbers) {
    if (value < chunk.min || value > chunk.max) continue;
    if (chunk.encoding != HIVE_COLUMN_U64 && value != std::floor(value)) continue;
    list.push_back(value);
  }
  if (list.empty()) return truth(false);
  if (list.size() == 1) return range(chunk, list[0], list[0]);
  hive_predicate_op op{HIVE_PREDICATE_IN_LIST, 0, static_cast<uint32_t>(words_.size()),
                       static_cast<uint32_t>(list.size()), 0};
  for (const double value : list) (void)put(chunk, value);
  return leaf(chunk, op);
}

Expr Specializer::codes(const ColumnChunk& chunk, const Node& node) {
  const auto end = std::upper_bound(node.numbers.begin(), node.numbers.end(), chunk.max);
  const auto begin = std::lower_bound(node.numbers.begin(), end, chunk.min);
  const auto count = static_cast<size_t>(end - begin);
  if (count == 0) return truth(false);
  const bool list = chunk.kind == ColumnKind::kList;
  const double first = *begin;
  const double last = *(end - 1);
  if (!list && last - first + 1 == static_cast<double>(count)) return range(chunk, first, last);
  hive_predicate_op op{HIVE_PREDICATE_IN_LIST, 0, static_cast<uint32_t>(words_.size()),
                       static_cast<uint32_t>(count), 0};
  if (!list && count <= kListMax) {
    for (auto it = begin; it != end; ++it) words_.push_back(static_cast<uint32_t>(*it));
    return leaf(chunk, op);
  }
  op.opcode = HIVE_PREDICATE_IN_SET;
  op.b = static_cast<uint32_t>(last) + 1;
  words_.resize(words_.size() + op.b / 32 + 1, 0);
  for (auto it = begin; it != end; ++it) {
    const auto code = static_cast<uint32_t>(*it);
    words_[op.a + code / 32] |= 1u << (code % 32);
  }
  return leaf(chunk, op);
}

Expr Specializer::length(const ColumnChunk& chunk, const Node& node) {
  const double low = std::max(0.0, std::ceil(node.low));
  const double high = std::min(4294967295.0, std::floor(node.high));
  if (low > high) return truth(false);
  return leaf(chunk, {HIVE_PREDICATE_LENGTH, 0, static_cast<uint32_t>(low),
                      static_cast<uint32_t>(high), 0});
}

// Rows that were decided elsewhere become a column of their own.
Expr Specializer::rows(uint32_t list) {
  const std::vector<uint64_t>& all = program_.rows()[list];
  const Segment& segment = *segment_.segment;
  if (segment_.row_count == 0) return truth(false);
  const uint64_t last = segment.row_at(segment_.row_count - 1);
  auto chunk = std::make_unique<ColumnChunk>();
  auto it = std::lower_bound(all.begin(), all.end(), segment.first_row());
  for (; it != all.end() && *it <= last; ++it) {
    const auto slot = segment.slot_of(*it, segment_.row_count);
    if (!slot) continue;
    chunk->row_count = *slot + 1;
    chunk->valid.resize((size_t{chunk->row_count} + 31) / 32, 0);
    chunk->valid[*slot / 32] |= 1u << (*slot % 32);
    chunk->present += 1;
  }
  if (chunk->present == 0) return truth(false);
  made_.push_back(std::move(chunk));
  return present(*made_.back());
}

Expr Specializer::join(const Node& node) {
  const bool both = node.op == FilterOp::kAnd;
  Expr e;
  e.kind = both ? Expr::Kind::kAnd : Expr::Kind::kOr;
  for (const auto& child : node.children) {
    Expr made = make(*child);
    if (made.constant()) {
      const bool value = made.kind == Expr::Kind::kTrue;
      if (value != both) return truth(value);
      continue;
    }
    e.cost += made.cost;
    e.children.push_back(std::move(made));
  }
  if (e.children.empty()) return truth(both);
  if (e.children.size() == 1) {
    Expr only = std::move(e.children[0]);
    return only;
  }
  // What needs the deepest stack comes first, so that nothing waits below it; among equals the
  // cheapest, because the rest may be skipped.
  std::stable_sort(e.children.begin(), e.children.end(), [](const Expr& a, const Expr& b) {
    return a.stack != b.stack ? a.stack > b.stack : a.cost < b.cost;
  });
  e.stack = e.children[0].stack;
  for (size_t i = 1; i < e.children.size(); ++i) {
    e.stack = std::max(e.stack, e.children[i].stack + 1);
  }
  return e;
}

Expr Specializer::make(const Node& node) {
  switch (node.op) {
    case FilterOp::kFalse: return truth(false);
    case FilterOp::kTrue: return truth(true);
    case FilterOp::kRows: return rows(node.column);
    case FilterOp::kAnd:
    case FilterOp::kOr: return join(node);
    case FilterOp::kNot: {
      Expr child = make(*node.children[0]);
      if (child.constant()) return truth(child.kind == Expr::Kind::kFalse);
      Expr e;
      e.kind = Expr::Kind::kNot;
      e.cost = child.cost;
      e.stack = child.stack;
      e.children.push_back(std::move(child));
      return e;
    }
    default: break;
  }
  const ColumnChunk* chunk =
      segment_.columns == nullptr ? nullptr : segment_.columns->find(node.column);
  if (chunk == nullptr) return truth(false);
  const bool list = chunk->kind == ColumnKind::kList;
  const bool coded = list || chunk->kind == ColumnKind::kCode;
  if (node.op == FilterOp::kPresent) return present(*chunk);
  if (node.op == FilterOp::kLength && list) return length(*chunk, node);
  if (node.op == FilterOp::kCodes && coded) return codes(*chunk, node);
  if (chunk->kind == ColumnKind::kNumber) {
    if (node.op == FilterOp::kRange) return number_range(*chunk, node);
    if (node.op == FilterOp::kNumbers) return numbers(*chunk, node);
  }
  throw Failure("INVALID_ARGUMENT", "native: the filter program does not fit its column.");
}

void Specializer::emit(const Expr& expr) {
  switch (expr.kind) {
    case Expr::Kind::kFalse:
    case Expr::Kind::kTrue:
      ops_.push_back({static_cast<uint16_t>(expr.kind == Expr::Kind::kTrue), 0, 0, 0, 0});
      return;
    case Expr::Kind::kLeaf:
      bytes_ += static_cast<uint64_t>(expr.cost * segment_.row_count);
      ops_.push_back(expr.op);
      return;
    case Expr::Kind::kNot:
      emit(expr.children[0]);
      ops_.push_back({HIVE_PREDICATE_NOT, 0, 0, 0, 0});
      return;
    default: break;
  }
  const bool both = expr.kind == Expr::Kind::kAnd;
  const uint16_t skip = both ? HIVE_PREDICATE_SKIP_ZEROS : HIVE_PREDICATE_SKIP_ONES;
  const uint16_t join = both ? HIVE_PREDICATE_AND : HIVE_PREDICATE_OR;
  emit(expr.children[0]);
  for (size_t i = 1; i < expr.children.size(); ++i) {
    const size_t at = ops_.size();
    ops_.push_back({skip, 0, 0, 0, 0});
    emit(expr.children[i]);
    ops_.push_back({join, 0, 0, 0, 0});
    ops_[at].a = static_cast<uint32_t>(ops_.size() - at - 1);
  }
}

std::shared_ptr<FilterBits> Specializer::run() {
  auto bits = std::make_shared<FilterBits>();
  bits->row_count = segment_.row_count;
  bits->words.resize((size_t{segment_.row_count} + 31) / 32);
  cpu::HostPredicate host;
  host.row_count = segment_.row_count;
  host.ops = ops_.data();
  host.op_count = static_cast<uint32_t>(ops_.size());
  host.columns = columns_.data();
  host.column_count = static_cast<uint32_t>(columns_.size());
  host.words = words_.data();
  host.word_count = static_cast<uint32_t>(words_.size());
  host.out = bits->words.data();
  hive_error error = new_error();
  const hive_status status = cpu::evaluate_host(host, &error);
  if (status != HIVE_OK) throw backend_failure(status, error);
  return bits;
}

}  // namespace

uint64_t read_bytes(const ColumnChunk& chunk) {
  const uint64_t rows = chunk.row_count;
  switch (chunk.encoding) {
    case HIVE_COLUMN_PRESENCE: return rows / 8;
    case HIVE_COLUMN_LIST: return rows * 4 + uint64_t{chunk.value_count} * 4;
    default: return rows << chunk.encoding;
  }
}

std::shared_ptr<const FilterBits> evaluate_segment(const FilterProgram& program,
                                                   const SnapshotSegment& segment,
                                                   uint64_t* bytes) {
  Specializer specializer(program, segment);
  const Expr expr = specializer.make(program.root());
  if (expr.constant()) {
    auto bits = std::make_shared<FilterBits>();
    bits->row_count = segment.row_count;
    bits->all = expr.kind == Expr::Kind::kTrue;
    return bits;
  }
  if (expr.stack > HIVE_PREDICATE_STACK) {
    throw Failure("INVALID_ARGUMENT", "The filter is nested too deeply.");
  }
  specializer.emit(expr);
  std::shared_ptr<FilterBits> bits = specializer.run();
  *bytes = specializer.bytes();
  return bits;
}

}  // namespace hive
