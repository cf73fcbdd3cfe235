#include "collection.h"

#include <algorithm>
#include <cstring>

#include "cpu_backend.h"
#include "segment_columns.h"
#include "workers.h"

namespace hive {
namespace {

constexpr uint64_t kSegmentBytes = uint64_t{64} << 20;
constexpr uint32_t kCapacityMin = 1024;
constexpr uint32_t kCapacityMax = 262144;

// Closed segments below this share of the capacity are merged once there are as many of them.
constexpr uint32_t kSmallShare = 8;

bool mostly_dead(const SnapshotSegment& s) { return uint64_t{s.live_count} * 2 < s.row_count; }

uint32_t choose_capacity(uint32_t dim, uint32_t dtype, uint64_t max_segment_bytes) {
  const uint64_t row_bytes = uint64_t{dim} * element_bytes(dtype);
  const uint64_t rows = std::min(kSegmentBytes, max_segment_bytes) / row_bytes;
  uint32_t capacity = kCapacityMin;
  while (capacity < kCapacityMax && uint64_t{capacity} * 2 <= rows) capacity *= 2;
  // A device with tiny segments wins over the minimum.
  while (capacity > 1 && capacity * row_bytes > max_segment_bytes) capacity /= 2;
  return capacity;
}

void copy_row(const Segment& from, uint32_t from_slot, const Segment& to, uint32_t to_slot) {
  std::copy_n(from.data(from_slot), from.row_bytes(), to.data(to_slot));
  *to.inv_norms(to_slot) = *from.inv_norms(from_slot);
  if (to.scales(0) != nullptr) *to.scales(to_slot) = *from.scales(from_slot);
}

}  // namespace

Collection::Collection(uint32_t dim, uint32_t metric, uint32_t dtype, uint64_t max_segment_bytes,
                       uint64_t first_row)
    : dim_(dim),
      metric_(metric),
      dtype_(dtype),
      capacity_(choose_capacity(dim, dtype, max_segment_bytes)) {
  auto empty = std::make_shared<Snapshot>();
  empty->end_row = first_row;
  published_ = std::move(empty);
}

void Collection::restore(std::vector<std::shared_ptr<Segment>> segments, uint64_t end_row) {
  auto next = std::make_shared<Snapshot>();
  for (std::shared_ptr<Segment>& segment : segments) {
    const uint32_t rows = segment->capacity();
    next->total_rows += rows;
    next->segments.push_back({std::move(segment), rows, rows, nullptr, nullptr});
  }
  next->live_rows = next->total_rows;
  next->end_row = end_row;
  const std::lock_guard lock(mutex_);
  published_ = std::move(next);
}

void Collection::restore_column(uint32_t id, ColumnValues values,
                                const std::vector<uint64_t>& rows) {
  const std::lock_guard lock(mutex_);
  auto next = std::make_shared<Snapshot>(*published_);
  size_t i = 0;
  for (SnapshotSegment& s : next->segments) {
    const size_t first = i;
    const uint64_t last_row = s.row_count == 0 ? 0 : s.segment->row_at(s.row_count - 1);
    for (; i < rows.size() && rows[i] <= last_row; ++i) {
      const auto slot = s.segment->slot_of(rows[i], s.row_count);
      const ColumnChunk* known = s.columns == nullptr ? nullptr : s.columns->find(id);
      if (!slot || (known != nullptr && *slot < known->row_count)) {
        throw Failure("INVALID_ARGUMENT", "native: a row does not exist, or has values already.");
      }
      values.positions[i] = *slot;
    }
    if (i == first) continue;
    auto columns = std::make_shared<SegmentColumns>();
    if (s.columns != nullptr) columns->chunks = s.columns->chunks;
    columns->chunks[id] =
        extend_chunk(columns->find(id), values, static_cast<uint32_t>(first),
                     static_cast<uint32_t>(i), 0, s.segment->capacity());
    s.columns = std::move(columns);
  }
  if (i < rows.size()) throw Failure("INVALID_ARGUMENT", "native: a row does not exist.");
  published_ = std::move(next);
}

std::shared_ptr<const Snapshot> Collection::snapshot() const {
  const std::lock_guard lock(mutex_);
  return published_;
}

std::shared_ptr<Batch> Collection::begin() {
  {
    const std::lock_guard lock(mutex_);
    if (batch_open_) throw Failure("INVALID_ARGUMENT", "Another batch of this collection is open.");
    batch_open_ = true;
  }
  return std::make_shared<Batch>(shared_from_this());
}

CollectionStats Collection::stats() const {
  const std::shared_ptr<const Snapshot> snapshot = this->snapshot();
  CollectionStats stats;
  stats.segments = snapshot->segments.size();
  stats.rows = snapshot->total_rows;
  stats.live_rows = snapshot->live_rows;
  for (const SnapshotSegment& s : snapshot->segments) {
    stats.host_bytes += uint64_t{s.row_count} * (s.segment->row_bytes() + sizeof(float));
    if (s.columns != nullptr) stats.column_bytes += s.columns->bytes();
  }
  return stats;
}

void Collection::settle() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return !compacting_; });
}

// Clears the bits of the given rows in new versions of the live bitsets.
void Collection::apply_tombstones(Snapshot* next, const std::vector<uint64_t>& tombstones) const {
  std::vector<std::vector<uint32_t>> words(next->segments.size());
  for (const uint64_t row : tombstones) {
    const auto place = next->find(row);
    SnapshotSegment* s = place ? &next->segments[place->segment] : nullptr;
    std::vector<uint32_t>* bits = place ? &words[place->segment] : nullptr;
    if (s != nullptr && bits->empty()) {
      if (s->live != nullptr) *bits = s->live->words;
      // Slots past the old version live: spare bits of its last word too.
      const uint32_t known = s->live == nullptr ? 0 : s->live->count;
      if (known % 32 != 0) bits->back() |= ~((1u << (known % 32)) - 1);
      bits->resize((size_t{s->row_count} + 31) / 32, ~0u);
    }
    const uint32_t mask = place ? 1u << (place->slot % 32) : 0;
    if (s == nullptr || ((*bits)[place->slot / 32] & mask) == 0) {
      throw Failure("INVALID_ARGUMENT", "Row " + std::to_string(row) + " is not live.");
    }
    (*bits)[place->slot / 32] &= ~mask;
    s->live_count -= 1;
    next->live_rows -= 1;
  }
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i].empty()) continue;
    SnapshotSegment& s = next->segments[i];
    s.live = std::make_shared<LiveBits>(std::move(words[i]), s.row_count);
  }
}

void Collection::publish(const std::vector<Span>& spans, uint64_t end_row,
                         const std::vector<uint64_t>& tombstones) {
  {
    const std::lock_guard lock(mutex_);
    auto next = std::make_shared<Snapshot>(*published_);
    for (const Span& span : spans) {
      if (span.first_slot > 0) {
        SnapshotSegment& tail = next->segments.back();
        tail.row_count += span.count;
        tail.live_count += span.count;
        tail.columns = span.columns;
      } else {
        next->segments.push_back({span.segment, span.count, span.count, nullptr, span.columns});
      }
      next->live_rows += span.count;
      next->total_rows += span.count;
      tail_ = span.segment;
    }
    next->end_row = end_row;
    apply_tombstones(next.get(), tombstones);
    std::erase_if(next->segments, [&](const SnapshotSegment& s) {
      if (s.live_count > 0) return false;
      if (s.segment == tail_) tail_ = nullptr;
      next->total_rows -= s.row_count;
      return true;
    });
    // Records that are replaced again and again die in the tail: close it, so that it can shrink.
    if (tail_ != nullptr && !next->segments.empty()) {
      const SnapshotSegment& tail = next->segments.back();
      if (tail.row_count >= kCapacityMin && mostly_dead(tail)) tail_ = nullptr;
    }
    published_ = std::move(next);
  }
  maybe_compact();
}

// Starts to merge the first run of neighbouring closed segments that are mostly dead, or so many
// and small that they only cost.
void Collection::maybe_compact() {
  std::shared_ptr<const Snapshot> source;
  size_t first = 0;
  size_t last = 0;
  {
    const std::lock_guard lock(mutex_);
    if (compacting_) return;
    source = published_;
    if (!find_run(*source, &first, &last)) return;
    compacting_ = true;
  }
  Workers::shared().run([self = shared_from_this(), source, first, last] {
    try {
      self->compact(source, first, last);
    } catch (const std::exception&) {
      // Out of memory: the dead rows stay where they are, and the next commit tries again.
    }
    {
      const std::lock_guard lock(self->mutex_);
      self->compacting_ = false;
    }
    self->idle_.notify_all();
  });
}

bool Collection::find_run(const Snapshot& snapshot, size_t* first, size_t* last) const {
  const auto& all = snapshot.segments;
  const auto candidate = [&](const SnapshotSegment& s) {
    return s.segment != tail_ && (mostly_dead(s) || s.live_count < capacity_ / kSmallShare);
  };
  for (*first = 0; *first < all.size(); *first = *last + 1) {
    uint64_t live = 0;
    bool worth = false;
    for (*last = *first; *last < all.size() && candidate(all[*last]); ++*last) {
      if (live + all[*last].live_count > capacity_) break;
      live += all[*last].live_count;
      worth = worth || mostly_dead(all[*last]);
    }
    if (*last > *first && (worth || *last - *first >= kSmallShare)) return true;
  }
  return false;
}

void Collection::compact(std::shared_ptr<const Snapshot> source, size_t first, size_t last) {
  std::vector<uint64_t> rows;
  std::vector<std::pair<size_t, uint32_t>> origin;  // segment and slot of every copied row
  for (size_t i = first; i < last; ++i) {
    const SnapshotSegment& s = source->segments[i];
    for (uint32_t slot = 0; slot < s.row_count; ++slot) {
      if (!s.alive(slot)) continue;
      rows.push_back(s.segment->row_at(slot));
      origin.emplace_back(i, slot);
    }
  }
  std::shared_ptr<Segment> merged;
  std::shared_ptr<const SegmentColumns> columns;
  if (!rows.empty()) {
    const auto count = static_cast<uint32_t>(rows.size());
    merged = std::make_shared<Segment>(dim_, dtype_, count, rows[0], rows);
    for (uint32_t to = 0; to < count; ++to) {
      copy_row(*source->segments[origin[to].first].segment, origin[to].second, *merged, to);
    }
  }
  if (merged != nullptr) columns = merge_columns(*source, origin);
  replace_compacted(*source, first, last, merged, columns, origin);
}

// Rows that died while they were copied are dead in the new segment too.
void Collection::replace_compacted(const Snapshot& source, size_t first, size_t last,
                                   std::shared_ptr<Segment> merged,
                                   std::shared_ptr<const SegmentColumns> columns,
                                   const std::vector<std::pair<size_t, uint32_t>>& origin) {
  const std::lock_guard lock(mutex_);
  auto next = std::make_shared<Snapshot>(*published_);
  std::vector<const SnapshotSegment*> now(last, nullptr);  // the sources as they are now
  for (size_t i = first; i < last; ++i) {
    for (const SnapshotSegment& s : published_->segments) {
      if (s.segment == source.segments[i].segment) now[i] = &s;
    }
  }
  std::vector<uint32_t> words((origin.size() + 31) / 32, ~0u);
  uint32_t live = 0;
  for (size_t to = 0; to < origin.size(); ++to) {
    const SnapshotSegment* s = now[origin[to].first];
    if (s != nullptr && s->alive(origin[to].second)) live += 1;
    else words[to / 32] &= ~(1u << (to % 32));
  }
  const auto count = static_cast<uint32_t>(origin.size());
  std::vector<SnapshotSegment> segments;
  bool placed = false;
  for (const SnapshotSegment& s : next->segments) {
    const bool replaced = std::any_of(now.begin(), now.end(), [&](const SnapshotSegment* n) {
      return n != nullptr && n->segment == s.segment;
    });
    if (!replaced) {
      segments.push_back(s);
      continue;
    }
    next->total_rows -= s.row_count;
    if (placed || live == 0) continue;
    placed = true;
    const auto bits =
        live == count ? nullptr : std::make_shared<LiveBits>(std::move(words), count);
    segments.push_back({merged, count, live, bits, columns});
    next->total_rows += count;
  }
  next->segments = std::move(segments);
  published_ = std::move(next);
}

// ---- batch --------------------------------------------------------------------------------------

namespace {

// Buffers between the caller's memory and the segments, reused: fresh pages cost more than the
// copy. Keeps a few, of the size that bulk loads use.
class Staging {
 public:
  static Staging& shared() {
    static auto* const staging = new Staging();
    return *staging;
  }
  std::vector<float> take(size_t floats) {
    std::vector<float> buffer;
    {
      const std::lock_guard lock(mutex_);
      if (!spare_.empty() && floats * sizeof(float) > kInlineBytesOfPush) {
        buffer = std::move(spare_.back());
        spare_.pop_back();
      }
    }
    buffer.resize(floats);
    return buffer;
  }
  void give_back(std::vector<float> buffer) {
    if (buffer.capacity() * sizeof(float) <= kInlineBytesOfPush) return;
    if (buffer.capacity() * sizeof(float) > kLargest) return;
    const std::lock_guard lock(mutex_);
    if (spare_.size() < kKept) spare_.push_back(std::move(buffer));
  }

 private:
  static constexpr size_t kInlineBytesOfPush = 64 * 1024;
  static constexpr size_t kLargest = size_t{4} << 20;
  static constexpr size_t kKept = 16;
  std::mutex mutex_;
  std::vector<std::vector<float>> spare_;
};

// Below this a hop to another thread costs more than the conversion.
constexpr size_t kInlineBytes = 64 * 1024;
// Values of columns that are encoded at once: some tenths of a millisecond.
constexpr uint64_t kInlineValues = 64 * 1024;

}  // namespace

Batch::Batch(std::shared_ptr<Collection> collection)
    : collection_(std::move(collection)), base_(collection_->snapshot()) {
  first_row_ = base_->end_row;
}

Batch::~Batch() { abort(); }

Batch::Target Batch::reserve(size_t want) {
  if (first_row_ + count_ + want >= kRowMax) {
    throw Failure("INVALID_ARGUMENT", "The collection has used up its row numbers.");
  }
  Collection::Span* span = spans_.empty() ? nullptr : &spans_.back();
  if (span == nullptr || span->first_slot + span->count == span->segment->capacity()) {
    std::shared_ptr<Segment> tail;
    uint32_t used = 0;
    if (span == nullptr && collection_->tail_ != nullptr && !base_->segments.empty()) {
      tail = collection_->tail_;
      used = base_->segments.back().row_count;
    }
    // Rows of a segment are consecutive; a tail whose successor rows were given elsewhere is full.
    if (tail == nullptr || used == tail->capacity() || base_->segments.back().segment != tail ||
        tail->row_at(used) != first_row_ + count_) {
      tail = std::make_shared<Segment>(collection_->dim(), collection_->dtype(),
                                       collection_->segment_capacity(), first_row_ + count_);
      used = 0;
    }
    spans_.push_back({tail, used, 0, used > 0 ? base_->segments.back().columns : nullptr});
    span = &spans_.back();
  }
  const uint32_t slot = span->first_slot + span->count;
  const auto count = static_cast<uint32_t>(
      std::min<size_t>(want, span->segment->capacity() - slot));
  span->count += count;
  count_ += count;
  return {span->segment, slot, count};
}

void Batch::push(const float* rows, size_t count) {
  if (!open_) throw Failure("CLOSED", "The batch is committed or aborted.");
  const size_t dim = collection_->dim();
  std::vector<float> copy = Staging::shared().take(count * dim);
  std::memcpy(copy.data(), rows, count * dim * sizeof(float));
  const uint64_t index = count_;
  std::vector<Target> targets;
  for (size_t done = 0; done < count; done += targets.back().count) {
    targets.push_back(reserve(count - done));
  }
  // shared_ptr: std::function copies what it holds.
  auto work = [self = shared_from_this(), staged = std::make_shared<std::vector<float>>(std::move(copy)),
               targets, index, dim] {
    size_t done = 0;
    for (const Target& target : targets) {
      self->convert(staged->data() + done * dim, target, index + done);
      done += target.count;
    }
    Staging::shared().give_back(std::move(*staged));
  };
  bool busy;
  {
    const std::lock_guard lock(mutex_);
    busy = tasks_ > 0;
  }
  if (!busy && count * dim * sizeof(float) <= kInlineBytes) return work();
  {
    const std::lock_guard lock(mutex_);
    ++tasks_;
  }
  Workers::shared().run([self = shared_from_this(), work = std::move(work)] {
    work();
    self->task_done();
  });
}

void Batch::convert(const float* rows, const Target& target, uint64_t index) {
  const cpu::EncodeResult result = cpu::best_kernels().encode[collection_->dtype()](
      rows, target.count, collection_->dim(), target.segment->data(target.slot),
      target.segment->scales(target.slot), target.segment->inv_norms(target.slot));
  if (result.fault == cpu::RowFault::kNone) return;
  const auto vector = static_cast<int64_t>(index + result.row);
  const auto element = static_cast<int64_t>(result.element);
  const std::string at = "Vector " + std::to_string(vector);
  switch (result.fault) {
    case cpu::RowFault::kNonFinite:
      return record({"NON_FINITE", at + " has NaN or Infinity at element " +
                                       std::to_string(element) + ".", vector, element});
    case cpu::RowFault::kOverflow:
      return record({"DTYPE_OVERFLOW", at + " has at element " + std::to_string(element) +
                                           " a value too large for the storage type.",
                     vector, element});
    default:
      return record({"NORM_TOO_LARGE", at + " has an l2 norm above 9e18.", vector});
  }
}

void Batch::record(Failure failure) {
  const std::lock_guard lock(mutex_);
  if (!failure_ || failure.index() < failure_->index()) failure_ = std::move(failure);
}

void Batch::task_done() {
  std::function<void(std::optional<Failure>)> done;
  std::optional<Failure> failure;
  {
    const std::lock_guard lock(mutex_);
    if (--tasks_ == 0) {
      done = std::move(done_);
      done_ = nullptr;
      failure = failure_;
    }
    changed_.notify_all();
  }
  if (done) done(failure);
}

void Batch::push_copies(const std::vector<uint64_t>& rows) {
  if (!open_) throw Failure("CLOSED", "The batch is committed or aborted.");
  for (const uint64_t row : rows) {
    const auto place = base_->find(row);
    if (!place || !base_->segments[place->segment].alive(place->slot)) {
      throw Failure("INVALID_ARGUMENT", "Row " + std::to_string(row) + " is not live.");
    }
    const Target target = reserve(1);
    copy_row(*base_->segments[place->segment].segment, place->slot, *target.segment, target.slot);
  }
}

void Batch::set_column(uint32_t id, ColumnValues values) {
  if (!open_) throw Failure("CLOSED", "The batch is committed or aborted.");
  ColumnValues& all = columns_[id];
  uint32_t last = all.positions.empty() ? 0 : all.positions.back() + 1;
  if (!all.positions.empty() && all.kind != values.kind) {
    throw Failure("INVALID_ARGUMENT", "native: a column has one kind.");
  }
  for (const uint32_t position : values.positions) {
    if (position < last || position >= count_) {
      throw Failure("INVALID_ARGUMENT", "native: positions of a column ascend within the batch.");
    }
    last = position + 1;
  }
  const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
  all.kind = values.kind;
  column_values_ += values.positions.size();
  if (all.positions.empty()) {
    all = std::move(values);
    return;
  }
  append(all.positions, values.positions);
  append(all.numbers, values.numbers);
  append(all.codes, values.codes);
  append(all.lengths, values.lengths);
}

// Encodes what set_column gave into the columns of the spans.
void Batch::encode_columns() {
  if (columns_.empty()) return;
  uint32_t first = 0;
  for (Collection::Span& span : spans_) {
    encode_span(&span, first);
    first += span.count;
  }
  columns_.clear();
}

// first: the position of the span's first row.
void Batch::encode_span(Collection::Span* span, uint32_t first) {
  std::shared_ptr<SegmentColumns> next;
  for (const auto& [id, values] : columns_) {
    const auto begin = values.positions.begin();
    const auto from = std::lower_bound(begin, values.positions.end(), first);
    const auto to = std::lower_bound(from, values.positions.end(), first + span->count);
    if (from == to) continue;
    if (next == nullptr) {
      next = std::make_shared<SegmentColumns>();
      if (span->columns != nullptr) next->chunks = span->columns->chunks;
    }
    next->chunks[id] = extend_chunk(next->find(id), values, static_cast<uint32_t>(from - begin),
                                    static_cast<uint32_t>(to - begin), span->first_slot - first,
                                    span->segment->capacity());
  }
  if (next != nullptr) span->columns = std::move(next);
}

void Batch::finish(std::function<void(std::optional<Failure>)> done) {
  {
    const std::lock_guard lock(mutex_);
    ++tasks_;
    done_ = std::move(done);
  }
  Workers::shared().run([self = shared_from_this()] {
    try {
      self->encode_columns();
    } catch (const Failure& failure) {
      self->record(failure);
    } catch (const std::exception&) {
      self->record({"OUT_OF_MEMORY", "The host is out of memory."});
    }
    self->task_done();
  });
}

bool Batch::finished_now() {
  {
    const std::lock_guard lock(mutex_);
    if (tasks_ > 0) return false;
    if (failure_) throw Failure(*failure_);
  }
  if (column_values_ > kInlineValues && !columns_.empty()) return false;
  encode_columns();
  return true;
}

void Batch::commit(const std::vector<uint64_t>& tombstones) {
  if (!open_) throw Failure("CLOSED", "The batch is committed or aborted.");
  if (!finished_now()) throw Failure("INVALID_ARGUMENT", "The batch is not finished.");
  collection_->publish(spans_, first_row_ + count_, tombstones);
  close();
}

void Batch::wait_for_tasks() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return tasks_ == 0; });
}

void Batch::abort() {
  if (!open_) return;
  // Tasks write into rows that the next batch will use.
  wait_for_tasks();
  close();
}

void Batch::close() {
  open_ = false;
  spans_.clear();
  base_.reset();
  const std::lock_guard lock(collection_->mutex_);
  collection_->batch_open_ = false;
}

}  // namespace hive
