// Runs cases on a device and compares the answers with the oracle.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <set>

#include "conformance.h"
#include "oracle.h"

namespace hive::test {
namespace {

constexpr uint64_t kForever = UINT64_MAX;
// What a caller's memory is overwritten with once the device may no longer read it.
constexpr int kScribble = 0xEE;
// Outputs are filled with this before a job, to see what was written.
constexpr uint32_t kUntouched = 0xfeedfaceu;

std::string text_of(const hive_hit& h) {
  char buffer[96];
  std::snprintf(buffer, sizeof buffer, "(segment %u, slot %u, value %.9g)", h.segment, h.slot,
                static_cast<double>(h.value));
  return buffer;
}

bool same_bits(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0; }

// How far two backends may be apart in the value of one (query, row) pair.
double tolerance(const ScanCase& c, uint32_t q, const hive_hit& h, bool flushes) {
  const Rows& rows = c.segments[h.segment].rows;
  double flushed = 0;
  if (flushes) {
    // HIVE_CAP_FLUSHES
    for (uint32_t i = 0; i < c.dim; ++i) {
      flushed += 3 + std::fabs(static_cast<double>(rows.decoded[size_t{h.slot} * c.dim + i])) +
                 std::fabs(static_cast<double>(c.queries[size_t{q} * c.dim + i]));
    }
    flushed *= 0x1p-126;
    if (c.metric == HIVE_METRIC_COSINE) {
      flushed *= static_cast<double>(rows.inv_norms[h.slot]) * c.query_inv_norms[q];
    }
  }
  const double terms =
      oracle::sum_of_terms(c.metric, &rows.decoded[size_t{h.slot} * c.dim],
                           &c.queries[size_t{q} * c.dim], c.dim, rows.inv_norms[h.slot],
                           c.query_inv_norms[q]);
  return 1e-5 * std::max(std::fabs(static_cast<double>(h.value)), terms) + flushed;
}

float true_value(const ScanCase& c, uint32_t q, const hive_hit& h) {
  const Rows& rows = c.segments[h.segment].rows;
  return oracle::value(c.metric, &rows.decoded[size_t{h.slot} * c.dim],
                       &c.queries[size_t{q} * c.dim], c.dim, rows.inv_norms[h.slot],
                       c.query_inv_norms[q]);
}

bool in_range(const ScanCase& c, const hive_hit& h) {
  return h.segment < c.segments.size() && h.slot < c.segments[h.segment].row_count &&
         c.segments[h.segment].searched(h.slot);
}

// "" when hit i of query q may stand where it does.
std::string compare_hit(const ScanCase& c, uint32_t q, const hive_hit& want, const hive_hit& got,
                        bool exact, bool flushes) {
  if (!in_range(c, got)) return "is no row that was to be searched";
  const bool same_row = got.segment == want.segment && got.slot == want.slot;
  if (exact) {
    return same_row && same_bits(got.value, want.value) ? "" : "is not the oracle's";
  }
  const double allowed = tolerance(c, q, got, flushes);
  if (!(std::fabs(static_cast<double>(got.value) - true_value(c, q, got)) <= allowed)) {
    return "has a value that is too far from the oracle's";
  }
  if (same_row) return "";
  // Both values may be off by the tolerance, so rows this close to each other may swap.
  const double both = allowed + tolerance(c, q, want, flushes);
  const double apart = std::fabs(static_cast<double>(true_value(c, q, got)) - want.value);
  return apart <= both ? "" : "is another row than the oracle's";
}

std::string compare_query(const ScanCase& c, uint32_t q, const std::vector<hive_hit>& want,
                          const Answer& answer, bool exact) {
  const std::string where = "query " + std::to_string(q) + ": ";
  if (answer.hit_counts[q] != want.size()) {
    return where + "hit count " + std::to_string(answer.hit_counts[q]) + ", expected " +
           std::to_string(want.size());
  }
  std::set<std::pair<uint32_t, uint32_t>> seen;
  for (size_t i = 0; i < want.size(); ++i) {
    const hive_hit& got = answer.hits[size_t{q} * c.k + i];
    std::string wrong = compare_hit(c, q, want[i], got, exact, answer.flushes);
    if (wrong.empty() && !seen.emplace(got.segment, got.slot).second) wrong = "comes twice";
    if (wrong.empty() && i > 0 &&
        oracle::closer(c.metric, got, answer.hits[size_t{q} * c.k + i - 1])) {
      wrong = "is closer than the one before it";
    }
    if (!wrong.empty()) {
      return where + "hit " + std::to_string(i) + " " + text_of(got) + " " + wrong +
             "; expected " + text_of(want[i]);
    }
  }
  return "";
}

}  // namespace

Expected expect(const ScanCase& c) {
  Expected out(c.query_count);
  std::vector<hive_hit> candidates;
  for (uint32_t q = 0; q < c.query_count; ++q) {
    candidates.clear();
    for (uint32_t s = 0; s < c.segments.size(); ++s) {
      for (uint32_t slot = 0; slot < c.segments[s].row_count; ++slot) {
        if (!c.segments[s].searched(slot)) continue;
        hive_hit hit{0, s, slot};
        hit.value = true_value(c, q, hit);
        candidates.push_back(hit);
      }
    }
    oracle::keep_closest(c.metric, c.k, &candidates);
    out[q] = candidates;
  }
  return out;
}

// ---- upload --------------------------------------------------------------------------------

Uploaded::Uploaded(OpenDevice& device, const ScanCase& c, bool late_wait) : device_(device) {
  uint32_t parts = 1;
  for (const CaseSegment& s : c.segments) {
    if (!upload(s, parts)) return;
    parts = parts % 3 + 1;
  }
  if (!late_wait) settle();
}

Uploaded::~Uploaded() {
  settle();
  for (hive_bits* bits : bits_) device_.table->bits_free(device_.handle, bits);
  for (const hive_scan_segment& s : list_) {
    device_.table->segment_free(device_.handle, s.segment);
  }
}

void Uploaded::settle() {
  for (hive_ticket* ticket : tickets_) {
    hive_error error = new_error();
    const hive_status status = device_.table->wait(device_.handle, ticket, kForever, &error);
    if (status != HIVE_OK && problem.empty()) problem = error.message;
    device_.table->ticket_free(device_.handle, ticket);
  }
  tickets_.clear();
  if (device_.has(HIVE_CAP_HOST_MEMORY)) return;
  for (const auto& place : places_) {
    std::memset(place->data.data(), kScribble, place->data.size());
    for (float& x : place->scales) x = -1e30f;
    for (float& x : place->inv_norms) x = -1e30f;
  }
}

bool Uploaded::append(hive_segment* segment, const CaseSegment& s, uint32_t first, uint32_t count,
                      const Place& from) {
  hive_rows rows{};
  rows.struct_size = sizeof rows;
  rows.first_slot = first;
  rows.count = count;
  rows.data = from.data.data() + first * s.rows.row_bytes();
  rows.scales = from.scales.empty() ? nullptr : &from.scales[first];
  rows.inv_norms = &from.inv_norms[first];
  hive_ticket* ticket = nullptr;
  hive_error error = new_error();
  if (device_.table->segment_append(device_.handle, segment, &rows, &ticket, &error) != HIVE_OK) {
    problem = error.message;
    return false;
  }
  tickets_.push_back(ticket);
  return true;
}

bool Uploaded::make_bits(const std::optional<BitSet>& bits, const hive_bits** out) {
  if (!bits) return true;
  hive_bits* made = nullptr;
  hive_error error = new_error();
  // The words may go as soon as the call returned.
  std::vector<uint32_t> words = bits->words;
  if (words.empty()) words.push_back(0);
  if (device_.table->bits_create(device_.handle, words.data(), bits->count, &made, &error) !=
      HIVE_OK) {
    problem = error.message;
    return false;
  }
  bits_.push_back(made);
  *out = made;
  return true;
}

bool Uploaded::upload(const CaseSegment& s, uint32_t parts) {
  auto place = std::make_unique<Place>();
  place->data = Area(s.capacity * s.rows.row_bytes());
  if (s.rows.count > 0) {
    std::memcpy(place->data.data(), s.rows.data.data(), s.rows.data.size());
  }
  place->scales = s.rows.scales;
  if (has_scale(s.rows.dtype)) place->scales.resize(s.capacity);
  place->inv_norms = s.rows.inv_norms;
  place->inv_norms.resize(s.capacity);
  const bool in_place = device_.has(HIVE_CAP_HOST_MEMORY);
  hive_segment_desc desc{};
  desc.struct_size = sizeof desc;
  desc.dim = s.rows.dim;
  desc.dtype = s.rows.dtype;
  desc.capacity_rows = s.capacity;
  if (in_place) {
    desc.host_data = place->data.data();
    desc.host_scales = place->scales.empty() ? nullptr : place->scales.data();
    desc.host_inv_norms = place->inv_norms.data();
  }
  hive_scan_segment entry{};
  hive_error error = new_error();
  if (device_.table->segment_create(device_.handle, &desc, &entry.segment, &error) != HIVE_OK) {
    problem = error.message;
    return false;
  }
  entry.row_count = s.row_count;
  list_.push_back(entry);
  places_.push_back(std::move(place));
  const uint32_t step = std::max(1u, (s.rows.count + parts - 1) / parts);
  for (uint32_t first = 0; first < s.rows.count; first += step) {
    const uint32_t count = std::min(step, s.rows.count - first);
    if (!append(entry.segment, s, first, count, *places_.back())) return false;
  }
  return make_bits(s.live, &list_.back().live) && make_bits(s.filter, &list_.back().filter);
}

// ---- jobs ----------------------------------------------------------------------------------

hive_scan_job make_job(const ScanCase& c, const Uploaded& uploaded, Answer* answer) {
  answer->hits.assign(size_t{c.query_count} * c.k, hive_hit{-7.0f, kUntouched, kUntouched});
  answer->hit_counts.assign(c.query_count, kUntouched);
  hive_scan_job job{};
  job.head.struct_size = sizeof job;
  job.head.op = HIVE_OP_SCAN_TOPK;
  job.metric = c.metric;
  job.dim = c.dim;
  job.query_count = c.query_count;
  job.k = c.k;
  job.queries = c.queries.data();
  job.query_inv_norms = c.query_inv_norms.data();
  job.segment_count = static_cast<uint32_t>(uploaded.segments().size());
  job.segment_size = sizeof(hive_scan_segment);
  job.segments = uploaded.segments().data();
  job.hits = answer->hits.data();
  job.hit_counts = answer->hit_counts.data();
  return job;
}

hive_status run_job(OpenDevice& device, const hive_scan_job& job, std::string* problem) {
  hive_ticket* ticket = nullptr;
  hive_error error = new_error();
  hive_status status = device.table->submit(device.handle, &job.head, &ticket, &error);
  if (status == HIVE_OK) {
    status = device.table->wait(device.handle, ticket, kForever, &error);
    device.table->ticket_free(device.handle, ticket);
  }
  if (status != HIVE_OK && problem != nullptr) *problem = error.message;
  return status;
}

Answer run_case(OpenDevice& device, const ScanCase& c, bool late_wait) {
  Answer answer;
  answer.flushes = device.has(HIVE_CAP_FLUSHES);
  Uploaded uploaded(device, c, late_wait);
  if (!uploaded.problem.empty()) {
    answer.problem = "upload: " + uploaded.problem;
    return answer;
  }
  const hive_health before = device.health();
  const hive_scan_job job = make_job(c, uploaded, &answer);
  answer.status = run_job(device, job, &answer.problem);
  const hive_health after = device.health();
  const uint64_t rows = c.rows_searched() * c.query_count;
  if (answer.status == HIVE_OK && (after.jobs_submitted != before.jobs_submitted + 1 ||
                                   after.jobs_finished != before.jobs_finished + 1 ||
                                   after.jobs_failed != before.jobs_failed)) {
    answer.problem = "the health counters do not show this one job";
  } else if (answer.status == HIVE_OK && after.rows_scanned != before.rows_scanned + rows) {
    answer.problem = "rows_scanned rose by " +
                     std::to_string(after.rows_scanned - before.rows_scanned) + ", expected " +
                     std::to_string(rows);
  }
  return answer;
}

std::string compare(const ScanCase& c, const Expected& expected, const Answer& answer,
                    bool exact) {
  if (answer.status != HIVE_OK) {
    return "status " + std::to_string(answer.status) + ": " + answer.problem;
  }
  for (uint32_t q = 0; q < c.query_count; ++q) {
    const std::string wrong = compare_query(c, q, expected[q], answer, exact);
    if (!wrong.empty()) return wrong;
  }
  return answer.problem;
}

std::string verify(OpenDevice& device, const ScanCase& c, bool exact) {
  const std::string wrong = compare(c, expect(c), run_case(device, c), exact);
  return wrong.empty() ? "" : c.name + ": " + wrong;
}

}  // namespace hive::test
