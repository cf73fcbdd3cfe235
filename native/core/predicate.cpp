#include "predicate.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "cpu_backend.h"
#include "specialize.h"

namespace hive {
namespace {

[[noreturn]] void malformed(const char* what) {
  throw Failure("INVALID_ARGUMENT", std::string("native: the filter program is wrong: ") + what + ".");
}

// Reads a program word by word.
class Reader {
 public:
  Reader(const double* words, size_t count) : words_(words), count_(count) {}
  bool done() const { return at_ == count_; }
  double next() {
    if (at_ == count_) malformed("it ends early");
    return words_[at_++];
  }
  uint32_t integer() {
    const double value = next();
    if (!(value >= 0 && value <= 4294967295.0) || value != std::floor(value)) {
      malformed("a word is not an integer");
    }
    return static_cast<uint32_t>(value);
  }

 private:
  const double* words_;
  size_t count_;
  size_t at_ = 0;
};

using Node = FilterProgram::Node;
using NodePtr = std::unique_ptr<Node>;

void read_numbers(Reader& reader, Node* node) {
  const uint32_t count = reader.integer();
  for (uint32_t i = 0; i < count; ++i) {
    const double value = reader.next();
    if (std::isnan(value)) malformed("a number is NaN");
    if (i > 0 && !(node->numbers.back() < value)) malformed("numbers are not ascending");
    node->numbers.push_back(value);
  }
}

void take_children(std::vector<NodePtr>& stack, Node* node, uint32_t count) {
  if (count < 1 || count > stack.size()) malformed("an operator lacks operands");
  const auto from = stack.end() - static_cast<std::ptrdiff_t>(count);
  std::move(from, stack.end(), std::back_inserter(node->children));
  stack.erase(from, stack.end());
}

NodePtr read_node(Reader& reader, std::vector<NodePtr>& stack, size_t lists) {
  auto node = std::make_unique<Node>();
  node->op = static_cast<FilterOp>(reader.integer());
  switch (node->op) {
    case FilterOp::kFalse:
    case FilterOp::kTrue:
      break;
    case FilterOp::kPresent:
      node->column = reader.integer();
      break;
    case FilterOp::kRange:
    case FilterOp::kLength:
      node->column = reader.integer();
      node->low = reader.next();
      node->high = reader.next();
      if (node->op == FilterOp::kRange) node->flags = reader.integer();
      if (std::isnan(node->low) || std::isnan(node->high)) malformed("a bound is NaN");
      break;
    case FilterOp::kNumbers:
    case FilterOp::kCodes:
      node->column = reader.integer();
      read_numbers(reader, node.get());
      break;
    case FilterOp::kRows:
      node->column = reader.integer();
      if (node->column >= lists) malformed("a list of rows does not exist");
      break;
    case FilterOp::kAnd:
    case FilterOp::kOr:
      take_children(stack, node.get(), reader.integer());
      break;
    case FilterOp::kNot:
      take_children(stack, node.get(), 1);
      break;
    default:
      malformed("an opcode is unknown");
  }
  return node;
}

void add_bytes(const Node& node, const SegmentColumns& columns, uint64_t* bytes) {
  for (const NodePtr& child : node.children) add_bytes(*child, columns, bytes);
  if (node.op == FilterOp::kRows || node.op <= FilterOp::kTrue || node.op >= FilterOp::kAnd) return;
  if (const ColumnChunk* chunk = columns.find(node.column)) *bytes += read_bytes(*chunk);
}

// Set bits among the first row_count, ANDed with what lives.
uint64_t count_passing(const FilterBits& bits, const SnapshotSegment& s) {
  if (bits.all) return s.live_count;
  if (bits.words.empty()) return 0;
  const cpu::CountFn count_bits = cpu::best_kernels().count_bits;
  const uint32_t* const words = bits.words.data();
  // Slots beyond the live bitset live, those that share its last word included.
  const size_t whole =
      s.live == nullptr ? 0 : std::min<size_t>(s.live->count / 32, bits.words.size());
  uint64_t count = whole == 0 ? 0 : count_bits(words, s.live->words.data(), whole);
  size_t next = whole;
  if (s.live != nullptr && s.live->count % 32 != 0 && next < bits.words.size()) {
    const uint32_t beyond = ~((1u << (s.live->count % 32)) - 1);
    const uint32_t mask = s.live->words[next] | beyond;
    count += count_bits(words + next, &mask, 1);
    ++next;
  }
  return count + count_bits(words + next, nullptr, bits.words.size() - next);
}

}  // namespace

bool filter_cache_enabled() {
  static const bool enabled = [] {
    const char* value = std::getenv("HIVE_GPU_FILTER_CACHE");
    return value == nullptr || std::strcmp(value, "0") != 0;
  }();
  return enabled;
}

FilterProgram::FilterProgram(const double* words, size_t count,
                             std::vector<std::vector<uint64_t>> rows)
    : rows_(std::move(rows)) {
  Reader reader(words, count);
  std::vector<NodePtr> stack;
  while (!reader.done()) stack.push_back(read_node(reader, stack, rows_.size()));
  if (stack.size() != 1) malformed("it does not leave one result");
  root_ = std::move(stack.back());
  if (rows_.empty() && filter_cache_enabled()) {
    key_.assign(reinterpret_cast<const char*>(words), count * sizeof(double));
  }
}

uint64_t filter_bytes(const FilterProgram& program, const Snapshot& snapshot) {
  uint64_t bytes = 0;
  for (const SnapshotSegment& s : snapshot.segments) {
    if (s.columns == nullptr) continue;
    if (s.columns->cached(program.key(), s.row_count) != nullptr) continue;
    add_bytes(program.root(), *s.columns, &bytes);
  }
  return bytes;
}

Selection::Selection(std::shared_ptr<const Snapshot> snapshot)
    : snapshot_(std::move(snapshot)),
      bits_(snapshot_->segments.size()),
      passing_(snapshot_->segments.size(), 0),
      bytes_(snapshot_->segments.size(), 0),
      from_cache_(snapshot_->segments.size(), 0) {}

void Selection::evaluate(const FilterProgram& program, size_t index) {
  const SnapshotSegment& s = snapshot_->segments[index];
  std::shared_ptr<const FilterBits> bits;
  if (s.columns != nullptr) bits = s.columns->cached(program.key(), s.row_count);
  from_cache_[index] = bits != nullptr;
  if (bits == nullptr) {
    bits = evaluate_segment(program, s, &bytes_[index]);
    if (s.columns != nullptr) s.columns->remember(program.key(), bits);
  }
  passing_[index] = count_passing(*bits, s);
  bits_[index] = std::move(bits);
}

void Selection::finish() {
  for (size_t i = 0; i < bits_.size(); ++i) {
    total_ += passing_[i];
    column_bytes_ += bytes_[i];
    cached_ += from_cache_[i];
  }
}

std::vector<double> Selection::rows_from(uint64_t from, uint64_t most) const {
  std::vector<double> rows;
  for (size_t i = 0; i < bits_.size() && rows.size() < most; ++i) {
    const SnapshotSegment& s = snapshot_->segments[i];
    if (passing_[i] == 0 || s.segment->row_at(s.row_count - 1) < from) continue;
    uint32_t slot = 0;
    if (!s.segment->compacted() && from > s.segment->first_row()) {
      slot = static_cast<uint32_t>(from - s.segment->first_row());
    }
    const FilterBits& bits = *bits_[i];
    for (; slot < s.row_count && rows.size() < most; ++slot) {
      if (!bits.all && slot % 32 == 0 && bits.words[slot / 32] == 0) {
        slot += 31;
        continue;
      }
      const uint64_t row = s.segment->row_at(slot);
      if (row >= from && passes(i, slot) && s.alive(slot)) rows.push_back(static_cast<double>(row));
    }
  }
  return rows;
}

bool Selection::passes(size_t segment, uint32_t slot) const {
  const FilterBits& bits = *bits_[segment];
  if (bits.all) return true;
  return !bits.words.empty() && ((bits.words[slot / 32] >> (slot % 32)) & 1u) != 0;
}

}  // namespace hive
