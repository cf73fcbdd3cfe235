// Planning, launching and reading back scans.
#include <cmath>
#include <functional>

#include "device.h"

namespace hive::cuda {
namespace {

using namespace hive::gpu;

// Up to here every row becomes a candidate: one block sorts them all.
constexpr uint32_t kTilesWithoutThreshold = kSortMost / kTileRows;
constexpr uint32_t kWaveQueries = 1024;
constexpr size_t kWaveBytes = size_t{16} << 20;
constexpr size_t kDenseBytes = size_t{256} << 20;
constexpr uint32_t kDenseQueries = 64;
constexpr uint32_t kCandidatesFew = 16384;  // per query, when there are few of them
constexpr uint32_t kCandidatesMany = 4096;
constexpr uint32_t kFewQueries = 8;
// From here on the matrix units pay.
constexpr uint32_t kMatrixQueries = 2;

uint32_t round_up(uint32_t n, uint32_t step) { return (n + step - 1) / step * step; }
size_t align(size_t n) { return (n + 255) / 256 * 256; }

uint32_t width_of(Path path) {
  switch (path) {
    case Path::one: return 1;
    case Path::matrix16: return 16;
    case Path::matrix64: return 64;
    case Path::matrix128: return 128;
    default: return 8;
  }
}
bool is_matrix(Path path) {
  return path == Path::matrix16 || path == Path::matrix64 || path == Path::matrix128;
}
bool dot_family(uint32_t metric) { return metric <= HIVE_METRIC_L2; }
bool half_operands(uint32_t dtype) { return dtype == HIVE_DTYPE_F16 || dtype == HIVE_DTYPE_I8; }

// Shared memory of a scan for `width` queries, by the layout in scan.h.
uint32_t scan_shared(uint32_t width, uint32_t dim_padded) {
  const size_t queries = size_t{width} * dim_padded * sizeof(float);
  const size_t fits = queries <= 32 * 1024 ? queries : 0;
  constexpr size_t kFinish = kSortMost * 8 + 256 * 4 + 16;
  return static_cast<uint32_t>(std::max(16 + fits, kFinish));
}
constexpr uint32_t kFinishShared = kSortMost * 8 + 256 * 4 + 64;

Margins margins_for(uint32_t dtype, uint32_t dim) {
  const bool wide = dtype == HIVE_DTYPE_F32;
  const double row = wide ? 0x1.02p-9 : dtype == HIVE_DTYPE_I8 ? 0x1p-23 : 0;
  const double query = half_operands(dtype) ? 0x1.02p-11 : 0x1.02p-9;
  const double sums = (dim + 96.0) * 0x1p-22;
  return {static_cast<float>(row + query + row * query + sums),
          static_cast<float>(dim * 0x1p-125)};
}

// Four sums, so that the compiler can use vectors.
double norm_of(const float* query, uint32_t dim) {
  double sums[4] = {};
  uint32_t i = 0;
  for (; i + 4 <= dim; i += 4) {
    for (uint32_t j = 0; j < 4; ++j) sums[j] += static_cast<double>(query[i + j]) * query[i + j];
  }
  for (; i < dim; ++i) sums[0] += static_cast<double>(query[i]) * query[i];
  return std::sqrt(sums[0] + sums[1] + (sums[2] + sums[3]));
}

// The bits of finite numbers without their sign are ordered as the numbers are.
float largest(const float* query, uint32_t dim) {
  int32_t most = 0;
  for (uint32_t i = 0; i < dim; ++i) {
    int32_t bits;
    std::memcpy(&bits, query + i, sizeof bits);
    bits &= 0x7fffffff;
    most = bits > most ? bits : most;
  }
  float out;
  std::memcpy(&out, &most, sizeof out);
  return out;
}

// binary16 operands: powers of two reach a query only so far down.
bool fits_half(const float* query, uint32_t dim) {
  const float most = largest(query, dim);
  return most == 0 || most > 0x1p-60f;
}

}  // namespace

// Where a wave's input and output are.
struct Device::Layout {
  uint32_t dim_padded = 0;
  uint32_t row_bytes = 0;
  uint32_t k = 0;
  uint32_t count = 0;
  bool inlined = false;
  Pointer table = 0;
  Pointer queries = 0;
  Pointer terms = 0;
  size_t out_hits = 0;
};

// Slot::control: maxima, counts, thresholds, published, then scanned (two words), done, cancel.
size_t Device::control_cancel() {
  return (size_t{kWaveQueries} * (kMaximaMost + 3) + 3) * sizeof(uint32_t);
}

void Device::plan(ScanTicket* ticket) const {
  const hive_scan_job& job = ticket->job;
  if (ticket->tiles == 0) return;
  const uint32_t k = static_cast<uint32_t>(std::min<uint64_t>(job.k, ticket->rows));
  std::vector<uint32_t> matrix;
  std::vector<uint32_t> plain;
  const bool fused = k <= kFusedK || (ticket->tiles <= kTilesWithoutThreshold && k <= kSortMost);
  const Path path = fused ? choose_path(*ticket, job.query_count) : Path::dense;
  for (uint32_t q = 0; q < job.query_count; ++q) {
    const bool suits = is_matrix(path) && (!half_operands(ticket->dtype) ||
                                           fits_half(job.queries + size_t{q} * job.dim, job.dim));
    (suits ? matrix : plain).push_back(q);
  }
  const auto add = [&](Path which, const std::vector<uint32_t>& queries, size_t most) {
    for (size_t first = 0; first < queries.size(); first += most) {
      const size_t count = std::min(most, queries.size() - first);
      const auto begin = queries.begin() + static_cast<std::ptrdiff_t>(first);
      ticket->waves.push_back({which, {begin, begin + static_cast<std::ptrdiff_t>(count)}});
    }
  };
  const size_t query_bytes = size_t{job.dim} * sizeof(float);
  const size_t most = std::clamp<size_t>(kWaveBytes / query_bytes / 128 * 128, 128, kWaveQueries);
  add(path, matrix, most);
  if (path == Path::dense) {
    const size_t per_query = size_t{ticket->tiles} * kTileRows * sizeof(uint32_t);
    add(path, plain, std::clamp<size_t>(kDenseBytes / per_query, 1, kDenseQueries));
  } else {
    add(plain.size() == 1 ? Path::one : Path::eight, plain, most);
  }
}

uint32_t Device::matrix_bytes(const ScanTicket& ticket, uint32_t width) const {
  const uint32_t row_bytes =
      round_up(ticket.job.dim * static_cast<uint32_t>(kElementBytes[ticket.dtype]), 16);
  const uint32_t per_chunk = 4 / static_cast<uint32_t>(kElementBytes[ticket.dtype]);
  const uint32_t steps = round_up(row_bytes, 128) / 64 * per_chunk;
  const uint32_t state = round_up(width * (4 + 8 * 4 + 4 * 4) + 4, 16);
  const uint64_t bytes = uint64_t{steps} * width / 8 * 256 + state;
  return static_cast<uint32_t>(std::min<uint64_t>(bytes, 1u << 30));
}

Path Device::choose_path(const ScanTicket& ticket, uint32_t queries) const {
  if (queries == 1) return Path::one;
  if (queries < kMatrixQueries || !matrix_ || !dot_family(ticket.job.metric) ||
      ticket.tiles <= kTilesWithoutThreshold) {
    return Path::eight;
  }
  const uint32_t two_blocks = shared_most_ / 2 - 1024;
  if (queries > 64 && matrix_bytes(ticket, 128) <= two_blocks) return Path::matrix128;
  if (queries > 16 && matrix_bytes(ticket, 64) <= shared_most_) return Path::matrix64;
  return matrix_bytes(ticket, 16) <= shared_most_ ? Path::matrix16 : Path::eight;
}

// Cuts a wave into launches whose groups of queries run side by side and share rows in the cache.
std::vector<Device::Launch> Device::split(const ScanTicket& ticket, const Wave& wave) const {
  const auto queries = static_cast<uint32_t>(wave.queries.size());
  Path path = wave.path;
  if (path == Path::dense) path = queries == 1 ? Path::one : Path::eight;
  const uint32_t width = width_of(path);
  const uint32_t dim_padded = round_up(ticket.job.dim, 32);
  const uint32_t shared =
      is_matrix(path) ? matrix_bytes(ticket, width) : scan_shared(width, dim_padded);
  const uint32_t per_sm = shared <= shared_most_ / 2 - 1024 ? 2 : 1;
  // One multiprocessor stays free, so that a short search need not wait for the end of a long one.
  const uint32_t blocks = config_.blocks != 0
                              ? config_.blocks
                              : std::max(1u, per_sm * (std::max(2u, multiprocessors_) - 1));
  const uint32_t k = static_cast<uint32_t>(std::min<uint64_t>(ticket.job.k, ticket.rows));
  // A threshold needs several maxima for each of the k.
  const uint32_t least_x = wave.path == Path::dense ? 1 : (3 * k + kWarps - 1) / kWarps;
  const uint32_t groups_most = std::clamp(blocks / std::max(1u, least_x), 1u,
                                          std::min(32u, kWaveQueries / width));
  std::vector<Launch> launches;
  for (uint32_t first = 0; first < queries;) {
    Launch launch;
    launch.path = path;
    launch.first = first;
    launch.count = std::min(queries - first, groups_most * width);
    launch.grid_y = (launch.count + width - 1) / width;
    launch.grid_x = std::clamp(blocks / launch.grid_y, 1u, std::min(ticket.tiles, kMaximaMost));
    launch.shared = shared;
    first += launch.count;
    launch.last = first == queries;
    launches.push_back(launch);
  }
  return launches;
}

void Device::stage_queries(Slot* slot, const ScanTicket& ticket, const Layout& layout,
                           float* queries, float* terms) const {
  const hive_scan_job& job = ticket.job;
  const bool half = half_operands(ticket.dtype);
  const bool matrix = is_matrix(slot->wave.path);
  for (uint32_t i = 0; i < layout.count; ++i) {
    const uint32_t q = slot->wave.queries[i];
    const float* from = job.queries + size_t{q} * job.dim;
    float* to = queries + size_t{i} * layout.dim_padded;
    std::memcpy(to, from, size_t{job.dim} * sizeof(float));
    std::fill(to + job.dim, to + layout.dim_padded, 0.0f);
  }
  for (const Launch& launch : split(ticket, slot->wave)) {
    float* out = terms + size_t{4} * launch.first;
    for (uint32_t i = 0; i < launch.count; ++i) {
      const uint32_t q = slot->wave.queries[launch.first + i];
      const float* query = job.queries + size_t{q} * job.dim;
      out[i] = job.metric == HIVE_METRIC_COSINE ? job.query_inv_norms[q] : 1.0f;
      if (!matrix) continue;
      if (job.metric != HIVE_METRIC_COSINE) {
        const double norm = std::max(norm_of(query, job.dim), 1e-30);
        out[launch.count + i] = static_cast<float>(norm * (1 + 0x1p-22));
      }
      int exponent = 0;
      const float most = half ? largest(query, job.dim) : 0.0f;
      if (most > 0) {
        (void)std::frexp(most, &exponent);
        exponent = 14 - exponent;
      }
      out[2 * launch.count + i] = std::ldexp(1.0f, -exponent);
      out[3 * launch.count + i] = std::ldexp(1.0f, exponent);
    }
  }
}

// Brings a wave's input to the device and makes room for what it writes.
Device::Layout Device::stage(Slot* slot, const ScanTicket& ticket) {
  const hive_scan_job& job = ticket.job;
  Layout layout;
  layout.dim_padded = round_up(job.dim, 32);
  layout.row_bytes = round_up(job.dim * static_cast<uint32_t>(kElementBytes[ticket.dtype]), 16);
  layout.k = static_cast<uint32_t>(std::min<uint64_t>(job.k, ticket.rows));
  layout.count = static_cast<uint32_t>(slot->wave.queries.size());
  const size_t floats = size_t{layout.count} * layout.dim_padded;
  layout.inlined = layout.count <= 8 && floats <= kInlineFloats &&
                   ticket.segments.size() <= kInlineSegments && !is_matrix(slot->wave.path);
  layout.out_hits = align(layout.count * sizeof(uint32_t));
  slot->output.reserve(driver_, layout.out_hits + size_t{layout.count} * layout.k * 8);
  slot->control.reserve(driver_, slot->stream,
                        (size_t{kWaveQueries} * (kMaximaMost + 3) + 64) * sizeof(uint32_t), true);
  if (slot->dirty) {
    driver_.check(driver_.memory_set(slot->control.at(), 0, slot->control.size(), slot->stream),
                  "cuMemsetD8Async");
    slot->dirty = false;
  }
  if (layout.inlined) return layout;
  const size_t table = align(ticket.segments.size() * sizeof(SegmentRef));
  const size_t terms = align(size_t{4} * layout.count * sizeof(float));
  const size_t queries = floats * sizeof(float);
  // Kernels read whole groups of queries: up to 7 more than there are.
  const size_t slack = size_t{8} * layout.dim_padded * sizeof(float);
  slot->input.reserve(driver_, table + terms + queries);
  slot->staged.reserve(driver_, slot->stream, table + terms + queries + slack, true);
  unsigned char* host = slot->input.data();
  std::memcpy(host, ticket.segments.data(), ticket.segments.size() * sizeof(SegmentRef));
  stage_queries(slot, ticket, layout, reinterpret_cast<float*>(host + table + terms),
                reinterpret_cast<float*>(host + table));
  driver_.check(driver_.copy_to_device(slot->staged.at(), host, table + terms + queries,
                                       slot->stream),
                "cuMemcpyHtoDAsync");
  layout.table = slot->staged.at();
  layout.terms = slot->staged.at(table);
  layout.queries = slot->staged.at(table + terms);
  return layout;
}

void Device::fill(ScanArgs* args, Slot* slot, const ScanTicket& ticket, const Layout& layout,
                  const Launch& launch) const {
  const hive_scan_job& job = ticket.job;
  args->metric = job.metric;
  args->dim = job.dim;
  args->dim_padded = layout.dim_padded;
  args->row_bytes = layout.row_bytes;
  args->query_count = launch.count;
  args->k = layout.k;
  args->segment_count = static_cast<uint32_t>(ticket.segments.size());
  args->tile_count = ticket.tiles;
  args->dense = slot->wave.path == Path::dense;
  args->rerank = is_matrix(launch.path);
  args->thresholds = args->dense == 0 && ticket.tiles > kTilesWithoutThreshold;
  // Enough maxima for k, and few enough to look through in no time.
  const uint32_t warps = launch.grid_x * kWarps;
  const uint32_t wanted = layout.k <= 32 ? 128 : layout.k <= 64 ? 256 : kMaximaMost;
  args->maxima_count = std::min(warps, wanted);
  args->capacity = launch.count <= kFewQueries ? kCandidatesFew : kCandidatesMany;
  args->first_query = launch.first;
  args->count_rows = ticket.has_bits && !ticket.counted && launch.first == 0;
  args->margins = margins_for(ticket.dtype, job.dim);
  const Pointer control = slot->control.at();
  const size_t maxima = size_t{kWaveQueries} * kMaximaMost * sizeof(uint32_t);
  args->maxima = reinterpret_cast<uint32_t*>(control);
  args->counts = reinterpret_cast<uint32_t*>(control + maxima);
  args->thresholds_found = args->counts + kWaveQueries;
  args->published = args->thresholds_found + kWaveQueries;
  args->scanned = reinterpret_cast<unsigned long long*>(args->published + kWaveQueries);
  args->done = args->published + kWaveQueries + 2;
  args->out_counts = reinterpret_cast<uint32_t*>(slot->output.device());
  args->out = reinterpret_cast<uint64_t*>(slot->output.device() + layout.out_hits);
  args->flag = reinterpret_cast<uint32_t*>(slot->words.device());
  args->cancel = args->done + 1;
  args->sequence = slot->sequence;
  args->report_rows = ticket.has_bits;
  args->out_scanned = reinterpret_cast<unsigned long long*>(slot->words.device() + 128);
  args->flag_value = launch.last && args->dense == 0 ? slot->sequence : 0;
  if (!layout.inlined) {
    args->table = reinterpret_cast<const SegmentRef*>(layout.table);
    args->queries = reinterpret_cast<const float*>(layout.queries) +
                    size_t{launch.first} * layout.dim_padded;
    args->query_terms = reinterpret_cast<const float*>(layout.terms) + size_t{4} * launch.first;
    return;
  }
  std::copy(ticket.segments.begin(), ticket.segments.end(), args->inline_segments);
  for (uint32_t i = 0; i < layout.count; ++i) {
    const uint32_t q = slot->wave.queries[i];
    std::memcpy(&args->inline_queries[size_t{i} * layout.dim_padded],
                job.queries + size_t{q} * job.dim, size_t{job.dim} * sizeof(float));
    args->inline_terms[i] = job.metric == HIVE_METRIC_COSINE ? job.query_inv_norms[q] : 1.0f;
  }
}

void Device::launch(Function f, uint32_t x, uint32_t y, uint32_t shared, Stream stream,
                    void* args) {
  void* parameters[] = {args};
  driver_.check(
      driver_.launch(f, x, y, 1, kBlockThreads, 1, 1, shared, stream, parameters, nullptr),
      "cuLaunchKernel");
}

void Device::run_fused(Slot* slot, const ScanTicket& ticket, const Layout& layout) {
  const std::vector<Launch> launches = split(ticket, slot->wave);
  size_t candidates = 0;
  for (const Launch& l : launches) {
    candidates = std::max<size_t>(
        candidates, size_t{l.count} * (l.count <= kFewQueries ? kCandidatesFew : kCandidatesMany));
  }
  slot->candidates.reserve(driver_, slot->stream, candidates * sizeof(uint64_t), false);
  const Kernels& kernels = kernels_[ticket.dtype];
  const uint32_t metric = ticket.job.metric;
  const uint32_t family = metric <= HIVE_METRIC_DOT ? 0 : metric - 1;
  for (const Launch& l : launches) {
    ScanArgs args{};
    fill(&args, slot, ticket, layout, l);
    args.candidates = reinterpret_cast<uint64_t*>(slot->candidates.at());
    args.finish = !is_matrix(l.path) && l.count <= 2;
    Function f = kernels.scan[family][l.path == Path::one ? 0 : 1];
    if (is_matrix(l.path)) {
      f = kernels.matrix[static_cast<int>(l.path) - static_cast<int>(Path::matrix16)];
    }
    launch(f, l.grid_x, l.grid_y, l.shared, slot->stream, &args);
    if (args.finish == 0) launch(kernels.finish, l.count, 1, kFinishShared, slot->stream, &args);
  }
}

void Device::run_dense(Slot* slot, const ScanTicket& ticket, const Layout& layout) {
  const uint32_t positions = ticket.tiles * kTileRows;
  slot->keys.reserve(driver_, slot->stream, size_t{layout.count} * positions * sizeof(uint32_t),
                     false);
  const size_t states = align(size_t{kDenseQueries} * sizeof(SelectState));
  slot->bins.reserve(driver_, slot->stream,
                     states + size_t{kDenseQueries} * kDigitBins * sizeof(uint32_t), true);
  ScanArgs scan{};
  for (const Launch& l : split(ticket, slot->wave)) {
    scan = ScanArgs{};
    fill(&scan, slot, ticket, layout, l);
    scan.keys = reinterpret_cast<uint32_t*>(slot->keys.at()) + size_t{l.first} * positions;
    const uint32_t metric = ticket.job.metric;
    const uint32_t family = metric <= HIVE_METRIC_DOT ? 0 : metric - 1;
    launch(kernels_[ticket.dtype].scan[family][l.path == Path::one ? 0 : 1], l.grid_x, l.grid_y,
           l.shared, slot->stream, &scan);
  }
  SelectArgs args{};
  args.positions = positions;
  args.k = layout.k;
  args.query_count = layout.count;
  args.keys = reinterpret_cast<const uint32_t*>(slot->keys.at());
  args.states = reinterpret_cast<SelectState*>(slot->bins.at());
  args.bins = reinterpret_cast<uint32_t*>(slot->bins.at(states));
  args.out_counts = scan.out_counts;
  args.out = scan.out;
  args.scanned = scan.scanned;
  args.out_scanned = scan.out_scanned;
  args.flag = scan.flag;
  args.flag_value = slot->sequence;
  const uint32_t blocks = std::clamp(positions / (kBlockThreads * 8), 1u, multiprocessors_ * 4);
  constexpr uint32_t kBinBytes = kDigitBins * sizeof(uint32_t);
  for (args.pass = 0; args.pass < 6; ++args.pass) {
    launch(select_[0], blocks, layout.count, kBinBytes, slot->stream, &args);
    launch(select_[1], 1, layout.count, kBinBytes, slot->stream, &args);
  }
  launch(select_[2], blocks, layout.count, 0, slot->stream, &args);
  launch(select_[3], 1, 1, 0, slot->stream, &args);
}

void Device::begin_wave(Slot* slot, ScanTicket* ticket) {
  slot->wave = std::move(ticket->waves.front());
  ticket->waves.pop_front();
  slot->sequence += 1;
  slot->launched = slot->looked = Clock::now();
  if (config_.timing) driver_.check(driver_.event_record(slot->begin, slot->stream), "timing");
  try {
    const Layout layout = stage(slot, *ticket);
    if (slot->wave.path == Path::dense) run_dense(slot, *ticket, layout);
    else run_fused(slot, *ticket, layout);
    if (config_.timing) driver_.check(driver_.event_record(slot->end, slot->stream), "timing");
  } catch (...) {
    slot->dirty = true;
    throw;
  }
}

// From candidates, closest first, to hits.
void Device::write_hits(ScanTicket* ticket, uint32_t query, const uint64_t* found,
                        uint32_t count) const {
  const hive_scan_job& job = ticket->job;
  hive_hit* out = job.hits + size_t{query} * job.k;
  const bool greater = job.metric <= HIVE_METRIC_DOT;
  for (uint32_t i = 0; i < count; ++i) {
    const auto key = static_cast<uint32_t>(found[i] >> 32);
    const uint32_t position = ~static_cast<uint32_t>(found[i]);
    const auto after = std::upper_bound(
        ticket->segments.begin(), ticket->segments.end(), position / kTileRows,
        [](uint32_t tile, const SegmentRef& s) { return tile < s.first_tile; });
    const auto index = static_cast<size_t>(after - ticket->segments.begin()) - 1;
    const uint32_t bits = (key & 0x80000000u) != 0 ? key ^ 0x80000000u : ~key;
    float closeness;
    std::memcpy(&closeness, &bits, sizeof closeness);
    out[i].value = (greater ? closeness : -closeness) + 0.0f;
    out[i].segment = ticket->numbers[index];
    out[i].slot = position - ticket->segments[index].first_tile * kTileRows;
  }
  job.hit_counts[query] = count;
}

void Device::collect(Slot* slot, ScanTicket* ticket) {
  const Wave& wave = slot->wave;
  const auto count = static_cast<uint32_t>(wave.queries.size());
  const uint32_t k = static_cast<uint32_t>(std::min<uint64_t>(ticket->job.k, ticket->rows));
  const auto* counts = reinterpret_cast<const uint32_t*>(slot->output.data());
  auto* hits = reinterpret_cast<uint64_t*>(slot->output.data() + align(count * sizeof(uint32_t)));
  if (!ticket->counted) {
    ticket->counted = true;
    uint64_t scanned = ticket->rows;
    if (ticket->has_bits) std::memcpy(&scanned, slot->words.data() + 128, sizeof scanned);
    ticket->scanned = scanned;
  }
  for (uint32_t i = 0; i < count; ++i) {
    uint64_t* found = hits + size_t{i} * k;
    if (counts[i] == kOverflow) {
      ticket->overflowed.push_back(wave.queries[i]);
      continue;
    }
    if (wave.path == Path::dense) std::sort(found, found + counts[i], std::greater<>());
    write_hits(ticket, wave.queries[i], found, counts[i]);
  }
  if (!ticket->waves.empty() || ticket->overflowed.empty()) return;
  // Too many rows too close to each other for the candidate buffers: ask again for every key.
  const size_t per_query = size_t{ticket->tiles} * kTileRows * sizeof(uint32_t);
  const size_t most = std::clamp<size_t>(kDenseBytes / per_query, 1, kDenseQueries);
  for (size_t first = 0; first < ticket->overflowed.size(); first += most) {
    const auto begin = ticket->overflowed.begin() + static_cast<std::ptrdiff_t>(first);
    const size_t part = std::min(most, ticket->overflowed.size() - first);
    ticket->waves.push_back({Path::dense, {begin, begin + static_cast<std::ptrdiff_t>(part)}});
  }
  ticket->overflowed.clear();
}

}  // namespace hive::cuda
