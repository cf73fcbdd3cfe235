// Helpers for the tests of native/core: collections with known rows, plain brute-force answers.
#pragma once

#include <algorithm>
#include <cmath>
#include <future>
#include <random>
#include <utility>

#include "collection.h"
#include "search.h"

namespace hive::test {

inline std::vector<float> random_rows(size_t count, uint32_t dim, uint32_t seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> rows(count * dim);
  for (float& x : rows) x = uniform(engine);
  return rows;
}

inline OpenOptions options_for(const std::string& backend, const std::string& fault_config = "") {
  OpenOptions options;
  options.search_paths = {HIVE_BACKENDS_DIR};
  options.backend = backend;
  options.fault_config = fault_config;
  return options;
}

inline std::shared_ptr<Runner> open_runner(const OpenOptions& options) {
  return std::make_shared<Runner>(choose_device(options));
}

// A runner whose device is the fault backend with the CPU behind it, as if it had been chosen.
inline std::shared_ptr<Runner> unforced_fault_runner(const std::string& fault_config) {
  DeviceChoice choice = choose_device(options_for("fault", fault_config));
  choice.forced = false;
  choice.fallback = choose_device(options_for("cpu")).device;
  return std::make_shared<Runner>(std::move(choice));
}

inline std::optional<Failure> finish(Batch& batch) {
  std::promise<std::optional<Failure>> done;
  batch.finish([&](std::optional<Failure> failure) { done.set_value(std::move(failure)); });
  return done.get_future().get();
}

// Appends rows and removes tombstones in one commit.
inline void write(const std::shared_ptr<Collection>& collection, const std::vector<float>& rows,
                  const std::vector<uint64_t>& tombstones = {}) {
  const std::shared_ptr<Batch> batch = collection->begin();
  if (!rows.empty()) batch->push(rows.data(), rows.size() / collection->dim());
  if (const auto failure = finish(*batch)) throw Failure(*failure);
  batch->commit(tombstones);
}

// Runs a search on the engine's threads; throws its failure.
inline SearchResult run_search(const std::shared_ptr<Runner>& runner, const Collection& collection,
                               std::shared_ptr<const Snapshot> snapshot,
                               const std::vector<float>& queries, uint32_t k) {
  const size_t count = queries.size() / collection.dim();
  const auto search = Search::make(runner, collection, std::move(snapshot),
                                               queries.data(), count, k);
  std::promise<std::optional<Failure>> done;
  search->start([&](std::optional<Failure> failure) { done.set_value(std::move(failure)); });
  const std::optional<Failure> failure = done.get_future().get();
  search->release();
  if (failure) throw Failure(*failure);
  return std::move(search->result());
}

inline std::vector<uint64_t> hit_rows(const SearchResult& result, size_t query, size_t stride) {
  const auto from = result.rows.begin() + static_cast<std::ptrdiff_t>(query * stride);
  return {from, from + result.counts[query]};
}

// Rows of a snapshot that live, ascending.
inline std::vector<uint64_t> live_rows(const Snapshot& snapshot) {
  std::vector<uint64_t> rows;
  for (const SnapshotSegment& s : snapshot.segments) {
    for (uint32_t slot = 0; slot < s.row_count; ++slot) {
      if (s.alive(slot)) rows.push_back(s.segment->row_at(slot));
    }
  }
  return rows;
}

}  // namespace hive::test
