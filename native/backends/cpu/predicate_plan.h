// A predicate job on the CPU: programs over columns, evaluated block by block to bitsets.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hive_backend.h"
#include "kernels.h"
#include "plan.h"

namespace hive::cpu {

// A column, wherever its values lie.
struct Column {
  uint32_t encoding = 0;
  uint32_t row_count = 0;
  uint32_t value_count = 0;
  const void* values = nullptr;
  const uint32_t* offsets = nullptr;
  const uint32_t* valid = nullptr;  // null: every slot has a value
};

struct PredicateSegment {
  uint32_t row_count = 0;
  const hive_predicate_op* ops = nullptr;
  uint32_t op_count = 0;
  std::vector<const Column*> columns;
  const std::vector<uint32_t>* live = nullptr;  // null: all
  uint32_t live_count = 0;                      // slots beyond live
  uint32_t* words = nullptr;
  std::vector<uint32_t>* bits = nullptr;  // sized by the caller
  uint32_t* passing = nullptr;
};

// What is wrong with a program, or "".
std::string check_program(const PredicateSegment& segment, uint32_t word_count,
                          const uint32_t* words);

class PredicatePlan : public Plan {
 public:
  // done runs in finish: what the job owes its caller besides bits and counts.
  PredicatePlan(const CpuKernels& kernels, std::vector<PredicateSegment> segments,
                const uint32_t* words, std::function<void()> done);

  uint32_t tile_count() const override { return static_cast<uint32_t>(tiles_.size()); }
  uint32_t query_count() const override { return 0; }
  void prepare(Worker& worker) const override;
  void run_tile(uint32_t tile, Worker& worker) const override;
  void finish(Worker* const* workers, uint32_t count) const override;

 private:
  struct Tile {
    uint32_t segment;
    uint32_t first;
    uint32_t count;
  };
  struct Block;

  void evaluate(const Block& block, uint64_t* stack) const;
  void leaf(const Block& block, const hive_predicate_op& op, uint64_t* out) const;
  void test_values(const Block& block, const hive_predicate_op& op, const Column& column,
                   uint64_t* out) const;
  void in_list(const Block& block, const hive_predicate_op& op, const Column& column,
               uint64_t* out) const;
  void in_set(const Block& block, const hive_predicate_op& op, const Column& column,
              uint64_t* out) const;
  uint64_t constant(const Column& column, uint32_t at) const;

  const CpuKernels& kernels_;
  std::vector<PredicateSegment> segments_;
  const uint32_t* words_;
  std::vector<Tile> tiles_;
  std::function<void()> done_;
};

}  // namespace hive::cpu
