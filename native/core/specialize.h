// One filter program for one segment: constants in the encoding of its columns, then its slots.
#pragma once

#include <memory>

#include "predicate.h"

namespace hive {

// Bytes that a test of the column reads.
uint64_t read_bytes(const ColumnChunk& chunk);

// Evaluates on the calling thread, on the host. bytes: columns that were read.
std::shared_ptr<const FilterBits> evaluate_segment(const FilterProgram& program,
                                                   const SnapshotSegment& segment, uint64_t* bytes);

}  // namespace hive
