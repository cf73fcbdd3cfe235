#include "segment_columns.h"

#include <map>

namespace hive {

std::shared_ptr<const SegmentColumns> merge_columns(
    const Snapshot& source, const std::vector<std::pair<size_t, uint32_t>>& origin) {
  std::map<uint32_t, ColumnValues> all;
  for (size_t to = 0; to < origin.size(); ++to) {
    const SnapshotSegment& s = source.segments[origin[to].first];
    const uint32_t slot = origin[to].second;
    if (s.columns == nullptr) continue;
    for (const auto& [id, chunk] : s.columns->chunks) {
      if (!chunk->has(slot)) continue;
      ColumnValues& values = all[id];
      values.kind = chunk->kind;
      values.positions.push_back(static_cast<uint32_t>(to));
      if (chunk->kind == ColumnKind::kNumber) values.numbers.push_back(chunk->number(slot));
      if (chunk->kind == ColumnKind::kCode) values.codes.push_back(chunk->code(slot));
      if (chunk->kind != ColumnKind::kList) continue;
      const auto [codes, length] = chunk->list(slot);
      values.codes.insert(values.codes.end(), codes, codes + length);
      values.lengths.push_back(length);
    }
  }
  if (all.empty()) return nullptr;
  auto columns = std::make_shared<SegmentColumns>();
  for (const auto& [id, values] : all) {
    columns->chunks[id] =
        extend_chunk(nullptr, values, 0, static_cast<uint32_t>(values.positions.size()), 0,
                     static_cast<uint32_t>(origin.size()));
  }
  return columns;
}

}  // namespace hive
