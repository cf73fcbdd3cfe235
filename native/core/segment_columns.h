// Columns of rows that move from segments to a new one.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "columns.h"
#include "segment.h"

namespace hive {

// The columns of rows that are copied out of several segments; origin: segment and slot of each row,
// in their new order. Null when none of them has metadata.
std::shared_ptr<const SegmentColumns> merge_columns(
    const Snapshot& source, const std::vector<std::pair<size_t, uint32_t>>& origin);

}  // namespace hive
