// Columns and predicate jobs of the CPU backend.
#include "cpu_backend.h"
#include "cpu_objects.h"

namespace hive::cpu {
namespace {

constexpr uint64_t kValueBytes[] = {1, 2, 4, 8, 0, 4};

hive_status check_column(const hive_column_desc& desc, hive_error* err) {
  if (desc.encoding >= HIVE_COLUMN_ENCODING_COUNT || desc.row_count < 1) {
    return fail(err, HIVE_INVALID_ARGUMENT, "encoding or row_count of the column is out of range.");
  }
  const bool list = desc.encoding == HIVE_COLUMN_LIST;
  const bool wants_values =
      desc.encoding != HIVE_COLUMN_PRESENCE && (!list || desc.value_count > 0);
  if ((wants_values && desc.values == nullptr) || (list && desc.offsets == nullptr)) {
    return fail(err, HIVE_INVALID_ARGUMENT, "The column's values or offsets are missing.");
  }
  if (list && desc.offsets[desc.row_count] != desc.value_count) {
    return fail(err, HIVE_INVALID_ARGUMENT, "The column's offsets do not end at value_count.");
  }
  return HIVE_OK;
}

hive_status read_segment(const hive_predicate_job& job, uint32_t index,
                         PredicateSegment* out, hive_error* err) {
  const auto& s = *reinterpret_cast<const hive_predicate_segment*>(
      reinterpret_cast<const char*>(job.segments) + size_t{index} * job.segment_size);
  if (s.ops == nullptr || s.op_count < 1 || (s.column_count > 0 && s.columns == nullptr)) {
    return fail(err, HIVE_INVALID_ARGUMENT, "The program or its columns are missing.");
  }
  out->row_count = s.row_count;
  out->ops = s.ops;
  out->op_count = s.op_count;
  for (uint32_t c = 0; c < s.column_count; ++c) {
    if (s.columns[c] == nullptr) return fail(err, HIVE_INVALID_ARGUMENT, "A column is NULL.");
    out->columns.push_back(&s.columns[c]->column);
  }
  if (s.live != nullptr) {
    out->live = &s.live->bits.words;
    out->live_count = s.live->bits.count;
  }
  out->words = s.words;
  out->passing = s.passing;
  const std::string wrong = check_program(*out, job.word_count, job.words);
  if (wrong.empty()) return HIVE_OK;
  return fail(err, HIVE_INVALID_ARGUMENT,
              "The program of segment " + std::to_string(index) + " is wrong: " + wrong + ".");
}

}  // namespace

hive_status column_create(hive_device* device, const hive_column_desc* desc, hive_column** out,
                          hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (desc == nullptr || desc->struct_size < sizeof(hive_column_desc) || out == nullptr) {
      return fail(err, HIVE_INVALID_ARGUMENT, "The column descriptor is missing or too small.");
    }
    const hive_status status = check_column(*desc, err);
    if (status != HIVE_OK) return status;
    auto column = std::make_unique<hive_column>();
    column->column = {desc->encoding, desc->row_count, desc->value_count,
                      desc->values,   desc->offsets,   desc->valid};
    const std::lock_guard lock(device->owned_mutex);
    device->columns.insert(column.get());
    *out = column.release();
    return HIVE_OK;
  });
}

void column_free(hive_device* device, hive_column* column) noexcept {
  if (column == nullptr) return;
  {
    const std::lock_guard lock(device->owned_mutex);
    device->columns.erase(column);
  }
  delete column;
}

hive_status make_predicate_plan(hive_device* device, const hive_job* head,
                                std::unique_ptr<Plan>* out, hive_error* err) {
  if (head->struct_size < sizeof(hive_predicate_job)) {
    return fail(err, HIVE_INVALID_ARGUMENT, "The predicate job is too small.");
  }
  const auto& job = *reinterpret_cast<const hive_predicate_job*>(head);
  const bool misses = job.segment_count > 0 && job.segments == nullptr;
  if (misses || job.segment_size < sizeof(hive_predicate_segment) ||
      (job.word_count > 0 && job.words == nullptr)) {
    return fail(err, HIVE_INVALID_ARGUMENT, "The segments or words of the job are missing.");
  }
  std::vector<PredicateSegment> segments(job.segment_count);
  // The bitsets become the caller's when the job has ended well; until then they are the plan's.
  struct Made {
    hive_bits** out;
    std::unique_ptr<hive_bits> bits;
  };
  auto made = std::make_shared<std::vector<Made>>();
  for (uint32_t i = 0; i < job.segment_count; ++i) {
    const hive_status status = read_segment(job, i, &segments[i], err);
    if (status != HIVE_OK) return status;
    const auto& s = *reinterpret_cast<const hive_predicate_segment*>(
        reinterpret_cast<const char*>(job.segments) + size_t{i} * job.segment_size);
    if (s.filter == nullptr) continue;
    auto bits = std::make_unique<hive_bits>();
    bits->bits.count = s.row_count;
    bits->bits.words.resize((size_t{s.row_count} + 31) / 32);
    segments[i].bits = &bits->bits.words;
    made->push_back({s.filter, std::move(bits)});
  }
  const auto hand_over = [device, made] {
    const std::lock_guard lock(device->owned_mutex);
    for (Made& m : *made) {
      device->bits.insert(m.bits.get());
      device->used_bytes.fetch_add(m.bits->bits.words.size() * sizeof(uint32_t));
      *m.out = m.bits.release();
    }
  };
  *out = std::make_unique<PredicatePlan>(device->kernels, std::move(segments), job.words,
                                         std::move(hand_over));
  return HIVE_OK;
}

hive_status evaluate_host(const HostPredicate& predicate, hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    std::vector<Column> columns;
    columns.reserve(predicate.column_count);
    PredicateSegment segment;
    for (uint32_t c = 0; c < predicate.column_count; ++c) {
      const hive_column_desc& d = predicate.columns[c];
      columns.push_back({d.encoding, d.row_count, d.value_count, d.values, d.offsets, d.valid});
      segment.columns.push_back(&columns.back());
    }
    segment.row_count = predicate.row_count;
    segment.ops = predicate.ops;
    segment.op_count = predicate.op_count;
    segment.words = predicate.out;
    const std::string wrong = check_program(segment, predicate.word_count, predicate.words);
    if (!wrong.empty()) return fail(err, HIVE_INTERNAL, "A predicate is wrong: " + wrong + ".");
    std::vector<PredicateSegment> segments;
    segments.push_back(std::move(segment));
    const PredicatePlan plan(best_kernels(), std::move(segments), predicate.words, nullptr);
    static thread_local Worker worker;
    plan.prepare(worker);
    for (uint32_t tile = 0; tile < plan.tile_count(); ++tile) plan.run_tile(tile, worker);
    return HIVE_OK;
  });
}

}  // namespace hive::cpu
