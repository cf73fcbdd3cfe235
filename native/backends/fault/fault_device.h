// An opened device of the fault backend.
//
// In both modes a thread of the device finishes tickets, which is what makes late completion, a
// forced final status and a lost device look to the caller as they do on hardware. In sim mode the
// same thread is also the device's only queue: appends and jobs start in the order they came in.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "fault_config.h"
#include "fault_objects.h"

namespace hive::fault {

// Writes the sentence as far as the caller has room for it, and returns status.
hive_status fail(hive_error* err, hive_status status, const std::string& message) noexcept;

// True when a struct whose first member is struct_size reaches to the end of type T.
template <class T>
bool complete_struct(const T* s) {
  return s != nullptr && s->struct_size >= sizeof(T);
}

// Copies as much of a filled struct as the caller has room for.
template <class T>
hive_status give(const T& filled, T* out, hive_error* err) noexcept {
  if (out == nullptr || out->struct_size < sizeof(uint32_t)) {
    return fail(err, HIVE_INVALID_ARGUMENT, "The output struct is missing or has no size.");
  }
  const uint32_t size = out->struct_size;
  std::memcpy(out, &filled, size < sizeof(T) ? size : sizeof(T));
  out->struct_size = size;
  return HIVE_OK;
}

// Bytes of one row; 0 for a dim or dtype that does not exist.
size_t row_bytes(uint32_t dtype, uint32_t dim);
bool has_row_scale(uint32_t dtype);

// How the inner device is presented to callers. Shared by device_info and the opened device.
void disguise(const Config& config, hive_device_info* info);

class Device {
 public:
  // Takes over the opened inner device. log may be null.
  Device(const Config& config, const Inner& inner, const hive_device_info& inner_info,
         std::atomic<bool>& poisoned, std::function<void(int32_t, const char*)> log);
  // Cancels what is unfinished and frees everything.
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  hive_status supports(const hive_op_desc* op, hive_error* err);
  hive_status segment_create(const hive_segment_desc* desc, hive_segment** out, hive_error* err);
  hive_status segment_append(hive_segment* segment, const hive_rows* rows, hive_ticket** out,
                             hive_error* err);
  void segment_free(hive_segment* segment);
  hive_status bits_create(const uint32_t* words, uint32_t bit_count, hive_bits** out,
                          hive_error* err);
  void bits_free(hive_bits* bits);
  hive_status submit(const hive_job* job, hive_ticket** out, hive_error* err);
  hive_status poll(hive_ticket* ticket, hive_error* err);
  hive_status wait(hive_ticket* ticket, uint64_t timeout_us, hive_error* err);
  void cancel(hive_ticket* ticket);
  void ticket_free(hive_ticket* ticket);
  hive_status memory_info(hive_memory_info* out, hive_error* err);
  void health(hive_health* out);

 private:
  using TicketPtr = std::shared_ptr<Ticket>;
  using Lock = std::unique_lock<std::mutex>;

  // What a call has to end with before it does anything: the device's state, then the rules.
  hive_status gate(Slot slot, hive_error* err);
  bool reserve(uint64_t bytes);
  template <class Handle>
  Handle* new_handle() {
    next_handle_ += 16;
    return reinterpret_cast<Handle*>(next_handle_);
  }
  TicketPtr find(hive_ticket* ticket);
  hive_status report(const Ticket& ticket, hive_error* err) const;
  void violation(const std::string& what);

  hive_status check_job(const hive_job* head, Ticket* ticket, hive_error* err);
  hive_status check_segments(const hive_scan_job& job, Ticket* ticket, uint32_t* dtype,
                             hive_error* err);
  hive_status make_segment(const hive_segment_desc& desc, Segment* segment, hive_error* err);
  void stage_job(Ticket* ticket);
  void enter(const TicketPtr& ticket, hive_ticket** out);
  void take_down_if_due();

  void pump();
  void start_ready(Lock& lock);
  void poll_running(Lock& lock);
  void start_append(const TicketPtr& ticket);
  bool start_scan(const TicketPtr& ticket);
  bool try_finish(const TicketPtr& ticket);
  void finish(const TicketPtr& ticket, hive_status status, const std::string& message);
  void give_outputs(const Ticket& ticket);

  const Config config_;
  const Inner inner_;
  const hive_device_info inner_info_;
  std::atomic<bool>& poisoned_;
  const std::function<void(int32_t, const char*)> log_;
  FailPlan plan_;
  std::atomic<uint64_t> used_{0};

  std::mutex append_mutex_;  // one append at a time; taken before mutex_
  std::mutex mutex_;
  std::condition_variable wake_;     // for the device's thread
  std::condition_variable changed_;  // for callers of wait and ticket_free
  // Guarded by mutex_ from here.
  std::unordered_map<hive_segment*, std::shared_ptr<Segment>> segments_;
  std::unordered_map<hive_bits*, std::shared_ptr<Bits>> bits_;
  std::unordered_map<hive_ticket*, TicketPtr> tickets_;
  std::deque<TicketPtr> queue_;     // sim: not started yet, in order
  std::vector<TicketPtr> running_;  // known to the inner device
  uintptr_t next_handle_ = 0x1000;
  bool lost_ = false;
  bool stopping_ = false;
  uint64_t jobs_submitted_ = 0;
  uint64_t jobs_finished_ = 0;
  uint64_t jobs_failed_ = 0;
  uint64_t violations_ = 0;
  std::string last_violation_;
  std::thread thread_;
};

}  // namespace hive::fault
