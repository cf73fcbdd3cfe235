// Tickets: waiting, cancelling, notifying, and many threads at once.
#include <doctest/doctest.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <thread>

#include "conformance.h"

namespace hive::test {
namespace {

constexpr uint64_t kForever = UINT64_MAX;
constexpr uint64_t kLongWaitUs = 60'000'000;

// A job that takes long enough to be overtaken: one segment, listed many times.
class LongJob {
 public:
  explicit LongJob(OpenDevice& device)
      : device_(device), case_(simple_case(6000, 256, 32, 10)), uploaded_(device, case_) {
    // A real card ends the usual list before anybody can overtake it.
    const bool card = device.info.kind == HIVE_DEVICE_DISCRETE && device.info.vendor_id != 0 &&
                      std::strncmp(device.info.name, "sim of", 6) != 0 &&
                      std::strstr(device.info.name, "Emulated") == nullptr;
    const uint32_t times = card ? kTimes * 50 : kTimes;
    list_.assign(times, uploaded_.segments()[0]);
    job_ = make_job(case_, uploaded_, &answer_);
    job_.segments = list_.data();
    job_.segment_count = times;
  }

  hive_ticket* submit() {
    hive_ticket* ticket = nullptr;
    hive_error error = new_error();
    CHECK_MESSAGE(device_.table->submit(device_.handle, &job_.head, &ticket, &error) == HIVE_OK,
                  error.message);
    return ticket;
  }
  hive_scan_job& job() { return job_; }
  const Answer& answer() const { return answer_; }
  const ScanCase& small() const { return case_; }

 private:
  static constexpr uint32_t kTimes = 100;
  OpenDevice& device_;
  ScanCase case_;
  Uploaded uploaded_;
  std::vector<hive_scan_segment> list_;
  Answer answer_;
  hive_scan_job job_{};
};

struct Notified {
  std::atomic<int> calls{0};
  std::atomic<int> status{-1};
  std::atomic<int> polled{-1};
  OpenDevice* device = nullptr;

  void listen(OpenDevice& d, hive_job* head) {
    device = &d;
    head->notify_ctx = this;
    head->notify = [](void* ctx, hive_ticket* ticket, hive_status status) {
      auto* self = static_cast<Notified*>(ctx);
      // A notify may call ticket functions.
      self->polled = self->device->table->poll(self->device->handle, ticket, nullptr);
      self->status = status;
      ++self->calls;
    };
  }
};

void for_each_device(uint32_t threads,
                     const std::function<void(const Backend&, OpenDevice&)>& body) {
  for (const Backend& backend : backends_under_test()) {
    CAPTURE(backend.spec);
    OpenDevice device(backend, threads);
    REQUIRE_MESSAGE(bool(device), device.problem);
    body(backend, device);
  }
}

}  // namespace

TEST_CASE("ticket: pending, then final, and final for ever") {
  for_each_device(2, [](const Backend& backend, OpenDevice& d) {
    const ScanCase c = simple_case(200, 16, 2, 5);
    Uploaded uploaded(d, c);
    Answer answer;
    const hive_scan_job job = make_job(c, uploaded, &answer);
    hive_ticket* ticket = nullptr;
    REQUIRE(d.table->submit(d.handle, &job.head, &ticket, nullptr) == HIVE_OK);
    REQUIRE(ticket != nullptr);
    const hive_status early = d.table->poll(d.handle, ticket, nullptr);
    CHECK((early == HIVE_PENDING || early == HIVE_OK));
    const hive_status at_once = d.table->wait(d.handle, ticket, 0, nullptr);
    CHECK((at_once == HIVE_PENDING || at_once == HIVE_OK));
    CHECK(d.table->wait(d.handle, ticket, kForever, nullptr) == HIVE_OK);
    for (int i = 0; i < 3; ++i) {
      CHECK(d.table->poll(d.handle, ticket, nullptr) == HIVE_OK);
      CHECK(d.table->wait(d.handle, ticket, 0, nullptr) == HIVE_OK);
    }
    // Too late: it had finished.
    d.table->cancel(d.handle, ticket);
    CHECK(d.table->poll(d.handle, ticket, nullptr) == HIVE_OK);
    d.table->ticket_free(d.handle, ticket);
    answer.status = HIVE_OK;
    CHECK(compare(c, expect(c), answer, backend.exact) == "");
  });
}

TEST_CASE("ticket: a short wait ends with PENDING, cancel ends the job") {
  for_each_device(1, [](const Backend&, OpenDevice& d) {
    LongJob job(d);
    hive_ticket* ticket = job.submit();
    REQUIRE(ticket != nullptr);
    CHECK(d.table->wait(d.handle, ticket, 0, nullptr) == HIVE_PENDING);
    CHECK(d.table->wait(d.handle, ticket, 50, nullptr) == HIVE_PENDING);
    d.table->cancel(d.handle, ticket);
    hive_error error = new_error();
    CHECK(d.table->wait(d.handle, ticket, kLongWaitUs, &error) == HIVE_CANCELLED);
    CHECK(error.message[0] != 0);
    d.table->cancel(d.handle, ticket);
    CHECK(d.table->poll(d.handle, ticket, nullptr) == HIVE_CANCELLED);
    d.table->ticket_free(d.handle, ticket);
    const hive_health health = d.health();
    CHECK(health.jobs_submitted == 1);
    CHECK(health.jobs_finished == 1);
    CHECK(health.jobs_failed == 0);
    CHECK(health.status == HIVE_OK);
  });
}

TEST_CASE("ticket: freeing waits for the work, so outputs may go right after") {
  for_each_device(2, [](const Backend& backend, OpenDevice& d) {
    const ScanCase c = simple_case(500, 24, 3, 7);
    const Expected expected = expect(c);
    Uploaded uploaded(d, c);
    for (int i = 0; i < 20; ++i) {
      auto answer = std::make_unique<Answer>();
      const hive_scan_job job = make_job(c, uploaded, answer.get());
      hive_ticket* ticket = nullptr;
      REQUIRE(d.table->submit(d.handle, &job.head, &ticket, nullptr) == HIVE_OK);
      if (i % 2 == 1) d.table->cancel(d.handle, ticket);
      d.table->ticket_free(d.handle, ticket);
      if (i % 2 == 1) continue;
      answer->status = HIVE_OK;
      CHECK(compare(c, expected, *answer, backend.exact) == "");
    }
    CHECK(d.health().jobs_finished == 20);
  });
}

TEST_CASE("ticket: nothing is written after a cancelled job's ticket was freed") {
  for_each_device(2, [](const Backend&, OpenDevice& d) {
    for (int i = 0; i < 3; ++i) {
      LongJob job(d);
      hive_ticket* ticket = job.submit();
      REQUIRE(ticket != nullptr);
      d.table->cancel(d.handle, ticket);
      d.table->ticket_free(d.handle, ticket);
      const std::vector<uint32_t> counts = job.answer().hit_counts;
      const hive_hit first = job.answer().hits[0];
      // Another job gives the device time to do what it should not.
      CHECK(verify(d, simple_case(), false) == "");
      CHECK(job.answer().hit_counts == counts);
      CHECK(job.answer().hits[0].slot == first.slot);
    }
  });
}

TEST_CASE("notify: exactly once, whatever the end; never without the capability") {
  for_each_device(2, [](const Backend&, OpenDevice& d) {
    const bool can = d.has(HIVE_CAP_NOTIFY);
    const ScanCase c = simple_case(100, 16, 2, 5);
    Uploaded uploaded(d, c);
    for (int i = 0; i < 50; ++i) {
      Answer answer;
      Notified notified;
      hive_scan_job job = make_job(c, uploaded, &answer);
      if (i % 5 == 4) job.segment_count = 0;
      notified.listen(d, &job.head);
      hive_ticket* ticket = nullptr;
      REQUIRE(d.table->submit(d.handle, &job.head, &ticket, nullptr) == HIVE_OK);
      if (i % 3 == 1) d.table->cancel(d.handle, ticket);
      // Freeing waits for the notify call as well.
      d.table->ticket_free(d.handle, ticket);
      CHECK(notified.calls == (can ? 1 : 0));
      if (!can) continue;
      CHECK((notified.status == HIVE_OK || (i % 3 == 1 && notified.status == HIVE_CANCELLED)));
      CHECK(notified.polled == notified.status);
    }
    LongJob longer(d);
    Notified notified;
    notified.listen(d, &longer.job().head);
    hive_ticket* ticket = longer.submit();
    d.table->cancel(d.handle, ticket);
    d.table->ticket_free(d.handle, ticket);
    CHECK(notified.calls == (can ? 1 : 0));
    if (can) CHECK(notified.status == HIVE_CANCELLED);
  });
}

TEST_CASE("fairness: a short job does not wait for a long one submitted before it") {
  for_each_device(2, [](const Backend& backend, OpenDevice& d) {
    LongJob longer(d);
    const ScanCase c = simple_case();
    Uploaded uploaded(d, c);
    hive_ticket* ticket = longer.submit();
    REQUIRE(ticket != nullptr);
    Answer answer;
    const hive_scan_job job = make_job(c, uploaded, &answer);
    answer.status = run_job(d, job, &answer.problem);
    CHECK(d.table->poll(d.handle, ticket, nullptr) == HIVE_PENDING);
    d.table->cancel(d.handle, ticket);
    d.table->ticket_free(d.handle, ticket);
    CHECK(compare(c, expect(c), answer, backend.exact) == "");
  });
}

TEST_CASE("many threads submit at once, every answer is right") {
  constexpr int kThreads = 4;
  constexpr int kJobs = 30;
  for_each_device(2, [](const Backend& backend, OpenDevice& d) {
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        const ScanCase c = simple_case(300 + 50 * t, 48, 1 + 5 * (t % 2), 9,
                                       static_cast<uint32_t>(t) % HIVE_METRIC_COUNT,
                                       static_cast<uint32_t>(t) % HIVE_DTYPE_COUNT, 100 + t);
        const Expected expected = expect(c);
        Uploaded uploaded(d, c);
        std::vector<Answer> answers(kJobs);
        std::vector<hive_ticket*> tickets(kJobs);
        std::vector<hive_scan_job> jobs(kJobs);
        for (int i = 0; i < kJobs; ++i) {
          jobs[i] = make_job(c, uploaded, &answers[i]);
          if (d.table->submit(d.handle, &jobs[i].head, &tickets[i], nullptr) != HIVE_OK) ++wrong;
        }
        for (int i = 0; i < kJobs; ++i) {
          answers[i].status = d.table->wait(d.handle, tickets[i], kForever, nullptr);
          d.table->ticket_free(d.handle, tickets[i]);
          if (!compare(c, expected, answers[i], backend.exact).empty()) ++wrong;
        }
        // Upload and free while others search.
        for (int i = 0; i < 5; ++i) {
          Answer answer;
          Uploaded again(d, c);
          const hive_scan_job job = make_job(c, again, &answer);
          answer.status = run_job(d, job);
          if (!compare(c, expected, answer, backend.exact).empty()) ++wrong;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
    const hive_health health = d.health();
    CHECK(health.jobs_submitted == kThreads * (kJobs + 5));
    CHECK(health.jobs_finished == health.jobs_submitted);
    CHECK(health.jobs_failed == 0);
  });
}

TEST_CASE("several threads wait for one ticket while another cancels") {
  for_each_device(1, [](const Backend&, OpenDevice& d) {
    LongJob job(d);
    hive_ticket* ticket = job.submit();
    std::atomic<int> cancelled{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        if (d.table->wait(d.handle, ticket, kForever, nullptr) == HIVE_CANCELLED) ++cancelled;
      });
    }
    d.table->cancel(d.handle, ticket);
    for (std::thread& thread : threads) thread.join();
    CHECK(cancelled == 3);
    d.table->ticket_free(d.handle, ticket);
  });
}

TEST_CASE("rows behind row_count are not searched until row_count says so") {
  for_each_device(2, [](const Backend& backend, OpenDevice& d) {
    ScanCase c = simple_case(64, 16, 1, 8);
    std::vector<float> twice = c.segments[0].rows.decoded;
    twice.insert(twice.end(), c.queries.begin(), c.queries.end());
    c.segments.clear();
    c.add_segment(twice);
    c.segments[0].row_count = 64;
    CHECK(verify(d, c, backend.exact) == "");
    c.segments[0].row_count = 65;
    CHECK(verify(d, c, backend.exact) == "");
  });
}

}  // namespace hive::test
