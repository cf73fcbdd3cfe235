// HIVE_OP_PREDICATE on every backend that has it, against an evaluator that goes slot by slot.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "conformance.h"

namespace hive::test {
namespace {

// A column and what each slot holds, written out.
struct TestColumn {
  uint32_t encoding = 0;
  uint32_t row_count = 0;
  bool all_valid = false;
  std::vector<bool> valid;
  std::vector<std::vector<uint64_t>> held;  // one value, for LIST any number
  std::vector<char> values;
  std::vector<uint32_t> offsets;
  std::vector<uint32_t> words;
};

TestColumn make_column(Random& random, uint32_t encoding, uint32_t rows) {
  TestColumn c;
  c.encoding = encoding;
  c.row_count = rows;
  c.all_valid = random.below(4) == 0;
  c.words.assign((rows + 31) / 32, 0);
  c.offsets.assign(1, 0);
  const bool list = encoding == HIVE_COLUMN_LIST;
  const uint32_t width = list ? 4 : 1u << encoding;
  for (uint32_t s = 0; s < rows; ++s) {
    c.valid.push_back(c.all_valid || random.below(3) > 0);
    if (c.valid[s]) c.words[s / 32] |= 1u << (s % 32);
    const uint32_t count = list ? (c.valid[s] ? random.below(4) : 0) : 1;
    c.held.emplace_back();
    for (uint32_t i = 0; i < count && encoding != HIVE_COLUMN_PRESENCE; ++i) {
      const uint64_t wide = random.below(2) == 0 ? random.next() : random.below(40);
      const uint64_t value = list ? random.below(70) : (width < 8 ? wide % (1ull << (8 * width)) : wide);
      c.held[s].push_back(value);
      c.values.resize(c.values.size() + width);
      std::memcpy(c.values.data() + c.values.size() - width, &value, width);
    }
    c.offsets.push_back(static_cast<uint32_t>(c.values.size() / 4));
  }
  return c;
}

struct Program {
  std::vector<hive_predicate_op> ops;
  std::vector<uint32_t> words;

  uint32_t put(uint64_t value, bool wide) {
    const auto at = static_cast<uint32_t>(words.size());
    words.push_back(static_cast<uint32_t>(value));
    if (wide) words.push_back(static_cast<uint32_t>(value >> 32));
    return at;
  }
};

uint64_t some_value(Random& random, const TestColumn& c) {
  const auto& held = c.held[random.below(c.row_count)];
  if (!held.empty() && random.below(4) > 0) return held[0];
  const uint64_t any = random.next();
  return c.encoding == HIVE_COLUMN_U64 ? any : any % (1ull << (8 << std::min(c.encoding, 2u)));
}

void add_leaf(Random& random, const std::vector<TestColumn>& columns, Program* p) {
  const auto index = static_cast<uint16_t>(random.below(static_cast<uint32_t>(columns.size())));
  const TestColumn& c = columns[index];
  const bool wide = c.encoding == HIVE_COLUMN_U64;
  hive_predicate_op op{HIVE_PREDICATE_PRESENT, index, 0, 0, 0};
  const uint32_t pick = random.below(5);
  if (c.encoding == HIVE_COLUMN_LIST && pick < 2) {
    op.opcode = HIVE_PREDICATE_LENGTH;
    op.a = random.below(3);
    op.b = op.a + random.below(3);
  } else if (c.encoding <= HIVE_COLUMN_U64 && pick == 0) {
    uint64_t lo = some_value(random, c);
    uint64_t hi = some_value(random, c);
    if (lo > hi) std::swap(lo, hi);
    op.opcode = HIVE_PREDICATE_RANGE;
    op.a = wide ? p->put(lo, true) : static_cast<uint32_t>(lo);
    op.b = wide ? p->put(hi, true) : static_cast<uint32_t>(hi);
  } else if (c.encoding <= HIVE_COLUMN_U64 && pick <= 2) {
    std::vector<uint64_t> list;
    const uint32_t count = random.below(4) == 0 ? 60 : 1 + random.below(6);
    for (uint32_t i = 0; i < count; ++i) list.push_back(some_value(random, c));
    std::sort(list.begin(), list.end());
    op = {HIVE_PREDICATE_IN_LIST, index, static_cast<uint32_t>(p->words.size()), count, 0};
    for (const uint64_t value : list) p->put(value, wide);
  } else if (c.encoding <= HIVE_COLUMN_U32 || c.encoding == HIVE_COLUMN_LIST) {
    op = {HIVE_PREDICATE_IN_SET, index, static_cast<uint32_t>(p->words.size()),
          1 + random.below(200), 0};
    for (uint32_t i = 0; i < (op.b + 31) / 32; ++i) {
      p->words.push_back(static_cast<uint32_t>(random.next()));
    }
  }
  p->ops.push_back(op);
}

Program make_program(Random& random, const std::vector<TestColumn>& columns) {
  Program p;
  const uint32_t leaves = 1 + random.below(5);
  for (uint32_t i = 0; i < leaves; ++i) {
    const bool both = random.below(2) == 0;
    const bool skip = i > 0 && random.below(2) == 0;
    const bool inverted = random.below(3) == 0;
    if (skip) {
      const uint16_t opcode = both ? HIVE_PREDICATE_SKIP_ZEROS : HIVE_PREDICATE_SKIP_ONES;
      p.ops.push_back({opcode, 0, inverted ? 3u : 2u, 0, 0});
    }
    if (random.below(12) == 0) {
      const auto opcode = static_cast<uint16_t>(random.below(2));
      p.ops.push_back({opcode, 0, 0, 0, 0});
    } else {
      add_leaf(random, columns, &p);
    }
    if (inverted) p.ops.push_back({HIVE_PREDICATE_NOT, 0, 0, 0, 0});
    const uint16_t join = both ? HIVE_PREDICATE_AND : HIVE_PREDICATE_OR;
    if (i > 0) p.ops.push_back({join, 0, 0, 0, 0});
  }
  return p;
}

bool leaf_passes(const hive_predicate_op& op, const TestColumn& c, const Program& p, uint32_t slot) {
  if (slot >= c.row_count || !c.valid[slot]) return false;
  const bool wide = c.encoding == HIVE_COLUMN_U64;
  const auto constant = [&](uint32_t at) {
    return wide ? uint64_t{p.words[at + 1]} << 32 | p.words[at] : uint64_t{p.words[at]};
  };
  if (op.opcode == HIVE_PREDICATE_PRESENT) return true;
  if (op.opcode == HIVE_PREDICATE_LENGTH) {
    return c.held[slot].size() >= op.a && c.held[slot].size() <= op.b;
  }
  for (const uint64_t value : c.held[slot]) {
    if (op.opcode == HIVE_PREDICATE_RANGE) {
      const uint64_t lo = wide ? constant(op.a) : op.a;
      const uint64_t hi = wide ? constant(op.b) : op.b;
      if (value >= lo && value <= hi) return true;
    } else if (op.opcode == HIVE_PREDICATE_IN_LIST) {
      for (uint32_t i = 0; i < op.b; ++i) {
        if (value == constant(op.a + i * (wide ? 2 : 1))) return true;
      }
    } else if (value < op.b && ((p.words[op.a + value / 32] >> (value % 32)) & 1u) != 0) {
      return true;
    }
  }
  return false;
}

bool passes(const std::vector<TestColumn>& columns, const Program& p, uint32_t slot) {
  std::vector<bool> stack;
  for (const hive_predicate_op& op : p.ops) {
    if (op.opcode == HIVE_PREDICATE_SKIP_ZEROS || op.opcode == HIVE_PREDICATE_SKIP_ONES) continue;
    if (op.opcode == HIVE_PREDICATE_NOT) {
      stack.back() = !stack.back();
    } else if (op.opcode == HIVE_PREDICATE_AND || op.opcode == HIVE_PREDICATE_OR) {
      const bool b = stack.back();
      stack.pop_back();
      stack.back() = op.opcode == HIVE_PREDICATE_AND ? stack.back() && b : stack.back() || b;
    } else if (op.opcode <= HIVE_PREDICATE_TRUE) {
      stack.push_back(op.opcode == HIVE_PREDICATE_TRUE);
    } else {
      stack.push_back(leaf_passes(op, columns[op.column], p, slot));
    }
  }
  return stack.back();
}

// Calls body for each backend that has columns; the others are noted.
void for_each_with_columns(const std::function<void(OpenDevice&)>& body) {
  for (const Backend& backend : backends_under_test()) {
    CAPTURE(backend.spec);
    OpenDevice d(backend);
    REQUIRE_MESSAGE(bool(d), d.problem);
    const bool known = d.table->struct_size >= offsetof(hive_backend_table, column_free) + 8;
    if (!known || d.table->column_create == nullptr) {
      note("predicate: " + backend.spec + " has no columns: skipped");
      continue;
    }
    body(d);
  }
}

hive_column* create(OpenDevice& d, const TestColumn& c) {
  hive_column_desc desc{};
  desc.struct_size = sizeof desc;
  desc.encoding = c.encoding;
  desc.row_count = c.row_count;
  desc.value_count = c.encoding == HIVE_COLUMN_LIST ? c.offsets.back() : c.row_count;
  desc.values = c.encoding == HIVE_COLUMN_PRESENCE ? nullptr : c.values.data();
  desc.offsets = c.encoding == HIVE_COLUMN_LIST ? c.offsets.data() : nullptr;
  desc.valid = c.all_valid ? nullptr : c.words.data();
  hive_column* column = nullptr;
  hive_error error = new_error();
  REQUIRE_MESSAGE(d.table->column_create(d.handle, &desc, &column, &error) == HIVE_OK, error.message);
  return column;
}

hive_status run(OpenDevice& d, const hive_predicate_job& job, std::string* problem) {
  hive_ticket* ticket = nullptr;
  hive_error error = new_error();
  hive_status status = d.table->submit(d.handle, &job.head, &ticket, &error);
  if (status == HIVE_OK) {
    status = d.table->wait(d.handle, ticket, UINT64_MAX, &error);
    d.table->ticket_free(d.handle, ticket);
  }
  *problem = error.message;
  return status;
}

void check_case(OpenDevice& d, Random& random) {
  const uint32_t rows = random.below(3) == 0 ? 1 + random.below(9000) : 1 + random.below(200);
  std::vector<TestColumn> columns;
  for (uint32_t e = 0; e < HIVE_COLUMN_ENCODING_COUNT; ++e) {
    columns.push_back(make_column(random, e, random.below(3) == 0 ? 1 + random.below(rows) : rows));
  }
  std::vector<hive_column*> handles;
  for (const TestColumn& c : columns) handles.push_back(create(d, c));
  std::vector<uint32_t> live_words((rows + 31) / 32);
  for (uint32_t& word : live_words) word = static_cast<uint32_t>(random.next());
  hive_bits* live = nullptr;
  hive_error error = new_error();
  REQUIRE(d.table->bits_create(d.handle, live_words.data(), rows, &live, &error) == HIVE_OK);
  const Program program = make_program(random, columns);
  hive_bits* filter = nullptr;
  std::vector<uint32_t> words((rows + 31) / 32, 0xdeadbeef);
  uint32_t passing = 0xdeadbeef;
  hive_predicate_segment segment{};
  segment.row_count = rows;
  segment.ops = program.ops.data();
  segment.op_count = static_cast<uint32_t>(program.ops.size());
  segment.columns = handles.data();
  segment.column_count = static_cast<uint32_t>(handles.size());
  segment.live = live;
  segment.filter = &filter;
  segment.words = words.data();
  segment.passing = &passing;
  hive_predicate_job job{};
  job.head.struct_size = sizeof job;
  job.head.op = HIVE_OP_PREDICATE;
  job.segment_count = 1;
  job.segment_size = sizeof segment;
  job.segments = &segment;
  job.words = program.words.data();
  job.word_count = static_cast<uint32_t>(program.words.size());
  std::string problem;
  REQUIRE_MESSAGE(run(d, job, &problem) == HIVE_OK, problem);
  uint32_t expected_passing = 0;
  std::vector<uint32_t> expected((rows + 31) / 32, 0);
  for (uint32_t s = 0; s < rows; ++s) {
    if (!passes(columns, program, s)) continue;
    expected[s / 32] |= 1u << (s % 32);
    expected_passing += (live_words[s / 32] >> (s % 32)) & 1u;
  }
  CHECK(words == expected);
  CHECK(passing == expected_passing);
  REQUIRE(filter != nullptr);
  d.table->bits_free(d.handle, filter);
  d.table->bits_free(d.handle, live);
  for (hive_column* column : handles) d.table->column_free(d.handle, column);
}

}  // namespace

TEST_CASE("predicate: random programs over random columns, against a slot-by-slot evaluator") {
  for_each_with_columns([](OpenDevice& d) {
    Random random(7);
    for (int i = 0; i < 400; ++i) {
      CAPTURE(i);
      check_case(d, random);
    }
  });
}

TEST_CASE("predicate: wrong programs are refused and leave no ticket") {
  for_each_with_columns([](OpenDevice& d) {
    Random random(8);
    const TestColumn u8 = make_column(random, HIVE_COLUMN_U8, 100);
    hive_column* column = create(d, u8);
    using Ops = std::vector<hive_predicate_op>;
    const Ops wrong[] = {
        {{99, 0, 0, 0, 0}},
        {{HIVE_PREDICATE_AND, 0, 0, 0, 0}},
        {{HIVE_PREDICATE_TRUE, 0, 0, 0, 0}, {HIVE_PREDICATE_TRUE, 0, 0, 0, 0}},
        Ops(17, {HIVE_PREDICATE_TRUE, 0, 0, 0, 0}),
        {{HIVE_PREDICATE_PRESENT, 1, 0, 0, 0}},
        {{HIVE_PREDICATE_RANGE, 0, 3, 2, 0}},
        {{HIVE_PREDICATE_RANGE, 0, 0, 256, 0}},
        {{HIVE_PREDICATE_IN_LIST, 0, 0, 5, 0}},
        {{HIVE_PREDICATE_IN_SET, 0, 0xffffffffu, 64, 0}},
        {{HIVE_PREDICATE_LENGTH, 0, 0, 1, 0}},
        {{HIVE_PREDICATE_TRUE, 0, 0, 0, 0}, {HIVE_PREDICATE_SKIP_ZEROS, 0, 9, 0, 0}},
    };
    for (const Ops& ops : wrong) {
      CAPTURE(ops[0].opcode);
      const uint32_t words[] = {1, 2};
      hive_predicate_segment segment{};
      segment.row_count = 100;
      segment.ops = ops.data();
      segment.op_count = static_cast<uint32_t>(ops.size());
      segment.columns = &column;
      segment.column_count = 1;
      hive_predicate_job job{};
      job.head.struct_size = sizeof job;
      job.head.op = HIVE_OP_PREDICATE;
      job.segment_count = 1;
      job.segment_size = sizeof segment;
      job.segments = &segment;
      job.words = words;
      job.word_count = 2;
      std::string problem;
      CHECK(run(d, job, &problem) == HIVE_INVALID_ARGUMENT);
      CHECK(!problem.empty());
    }
    d.table->column_free(d.handle, column);
  });
}

}  // namespace hive::test
