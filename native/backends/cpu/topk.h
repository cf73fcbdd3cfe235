// Selection of the k best of a stream of (key, position) pairs; greater keys first, ties by the
// smaller position. Amortised O(1) per pair for any k: pairs that may belong are collected, and
// when the buffer is full everything behind the k-th is dropped.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

namespace hive::cpu {

struct Candidate {
  float key;
  uint64_t position;  // segment << 32 | slot
};

inline bool better(const Candidate& a, const Candidate& b) {
  return a.key > b.key || (a.key == b.key && a.position < b.position);
}

class TopK {
 public:
  void reset(uint32_t k) {
    k_ = k;
    // A small k leaves room for several rounds of collecting before the next cut.
    limit_ = std::max<size_t>(size_t{k} * 2, 64);
    items_.clear();
    full_ = false;
    threshold_ = -std::numeric_limits<float>::infinity();
  }

  // Keys below it cannot belong any more; an equal one still may.
  float threshold() const { return threshold_; }

  // Returns true when the threshold rose.
  bool push(float key, uint64_t position) {
    const Candidate item{key, position};
    if (full_ && !better(item, worst_)) return false;
    items_.push_back(item);
    // The first k set the threshold at once, so that the scan can start to skip.
    if (items_.size() == limit_ || (!full_ && items_.size() == k_)) return cut();
    return false;
  }

  // The k best (or fewer), best first.
  const std::vector<Candidate>& finish() {
    const size_t keep = std::min<size_t>(k_, items_.size());
    std::partial_sort(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(keep),
                      items_.end(), better);
    items_.resize(keep);
    return items_;
  }

  const std::vector<Candidate>& items() const { return items_; }

 private:
  bool cut() {
    const auto kth = items_.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
    std::nth_element(items_.begin(), kth, items_.end(), better);
    worst_ = *kth;
    items_.resize(k_);
    full_ = true;
    const bool rose = worst_.key > threshold_;
    threshold_ = worst_.key;
    return rose;
  }

  uint32_t k_ = 0;
  size_t limit_ = 0;
  std::vector<Candidate> items_;
  Candidate worst_{};
  float threshold_ = -std::numeric_limits<float>::infinity();
  bool full_ = false;
};

}  // namespace hive::cpu
