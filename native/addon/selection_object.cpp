#include <algorithm>

#include "objects.h"
#include "workers.h"

namespace hive::addon {
namespace {

// Columns that are read on the JavaScript thread: at most about a third of a millisecond.
constexpr uint64_t kInlineBytes = uint64_t{4} << 20;
constexpr uint64_t kRowsAtOnce = 1u << 24;

Napi::Number number(Napi::Env env, uint64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}

// The rows of each list, ascending as the engine gives them.
std::vector<std::vector<uint64_t>> read_lists(const Napi::CallbackInfo& info, size_t index) {
  std::vector<std::vector<uint64_t>> lists;
  if (!info[index].IsArray()) {
    throw Failure("INVALID_ARGUMENT", "native: rows must be an array of Float64Arrays.");
  }
  const auto given = info[index].As<Napi::Array>();
  for (uint32_t i = 0; i < given.Length(); ++i) {
    lists.push_back(rows_of(given.Get(i), "rows"));
    if (!std::is_sorted(lists.back().begin(), lists.back().end())) {
      throw Failure("INVALID_ARGUMENT", "native: rows must be ascending.");
    }
  }
  return lists;
}

// A selection under way on the engine's workers: one task per segment, the last one reports.
struct Pending {
  Pending(std::shared_ptr<const Snapshot> snapshot, FilterProgram p)
      : selection(std::make_shared<Selection>(std::move(snapshot))), program(std::move(p)) {}
  std::shared_ptr<Selection> selection;
  FilterProgram program;
  std::atomic<size_t> remaining{0};
  std::mutex mutex;
  std::optional<Failure> failure;
};

void run_pending(const std::shared_ptr<Pending>& pending, const std::function<void()>& done) {
  const size_t segments = pending->selection->snapshot().segments.size();
  pending->remaining.store(segments);
  for (size_t i = 0; i < segments; ++i) {
    Workers::shared().run([pending, i, done] {
      try {
        pending->selection->evaluate(pending->program, i);
      } catch (const Failure& failure) {
        const std::lock_guard lock(pending->mutex);
        pending->failure = failure;
      } catch (const std::exception&) {
        const std::lock_guard lock(pending->mutex);
        pending->failure = Failure("OUT_OF_MEMORY", "The host is out of memory.");
      }
      if (pending->remaining.fetch_sub(1) == 1) done();
    });
  }
}

}  // namespace

Napi::Function SelectionObject::define(Napi::Env env) {
  return DefineClass(env, "NativeSelection",
                     {InstanceAccessor<&SelectionObject::get_count>("count"),
                      InstanceMethod<&SelectionObject::rows_from>("rowsFrom")});
}

SelectionObject::SelectionObject(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  check_token(info);
}

Napi::Object SelectionObject::create(Napi::Env env, std::shared_ptr<const Selection> selection) {
  auto* object = construct<SelectionObject>(env, Environment::of(env).selection);
  object->selection_ = std::move(selection);
  return object->Value();
}

std::shared_ptr<const Selection> SelectionObject::read(const Napi::CallbackInfo& info, size_t index) {
  if (info.Length() <= index || info[index].IsUndefined()) return nullptr;
  const Napi::Env env = info.Env();
  const Napi::Function constructor = Environment::of(env).selection.Value();
  if (!info[index].IsObject() || !info[index].As<Napi::Object>().InstanceOf(constructor)) {
    throw Failure("INVALID_ARGUMENT", "native: selection must be a NativeSelection.");
  }
  return Unwrap(info[index].As<Napi::Object>())->selection_;
}

Napi::Value SelectionObject::get_count(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value { return number(info.Env(), selection_->total()); });
}

Napi::Value SelectionObject::rows_from(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const uint64_t from = integer_arg(info, 0, "fromRow", kRowMax);
    const uint64_t most = integer_arg(info, 1, "max", kRowsAtOnce);
    const std::vector<double> rows = selection_->rows_from(from, most);
    auto out = Napi::Float64Array::New(info.Env(), rows.size());
    std::copy(rows.begin(), rows.end(), out.Data());
    return out;
  });
}

// ---- NativeSnapshot.select: here, because it makes selections

Napi::Value SnapshotObject::select(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    (void)snapshot();
    const Napi::Float64Array words = doubles_arg(info, 0, "program");
    FilterProgram program(words.Data(), words.ElementLength(), read_lists(info, 1));
    if (filter_bytes(program, *snapshot_) <= kInlineBytes) {
      auto selection = std::make_shared<Selection>(snapshot_);
      for (size_t i = 0; i < snapshot_->segments.size(); ++i) selection->evaluate(program, i);
      selection->finish();
      return SelectionObject::create(env, std::move(selection));
    }
    const std::shared_ptr<Bridge> bridge = Environment::of(env).bridge;
    const auto deferred = Napi::Promise::Deferred::New(env);
    bridge->begin();
    const auto pending = std::make_shared<Pending>(snapshot_, std::move(program));
    run_pending(pending, [bridge, deferred, pending] {
      pending->selection->finish();
      bridge->post([deferred, pending](Napi::Env e) {
        if (pending->failure) deferred.Reject(to_error(e, *pending->failure).Value());
        else deferred.Resolve(SelectionObject::create(e, pending->selection));
      });
    });
    return deferred.Promise();
  });
}

}  // namespace hive::addon
