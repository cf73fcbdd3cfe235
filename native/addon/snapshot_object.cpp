#include "cpu_backend.h"
#include "objects.h"

namespace hive::addon {
namespace {

constexpr uint64_t kQueriesMax = 1u << 24;
constexpr uint64_t kMax = 1u << 30;

Napi::Number number(Napi::Env env, uint64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}

// Copies hits, whose stride is the search's own k, to arrays whose stride is the caller's k.
void spread(const Search& search, const SearchResult& result, uint32_t k, float* values,
            double* rows, uint32_t* counts) {
  for (uint32_t q = 0; q < search.query_count(); ++q) {
    const uint32_t count = result.counts[q];
    counts[q] = count;
    const size_t from = size_t{q} * search.k();
    const size_t to = size_t{q} * k;
    for (uint32_t i = 0; i < count; ++i) {
      values[to + i] = result.values[from + i];
      rows[to + i] = static_cast<double>(result.rows[from + i]);
    }
  }
}

}  // namespace

Napi::Value make_result(Napi::Env env, Search& search, uint32_t k) {
  const SearchResult& result = search.result();
  const size_t slots = size_t{search.query_count()} * k;
  auto values = Napi::Float32Array::New(env, slots);
  auto rows = Napi::Float64Array::New(env, slots);
  auto counts = Napi::Uint32Array::New(env, search.query_count());
  spread(search, result, k, values.Data(), rows.Data(), counts.Data());
  Napi::Object out = Napi::Object::New(env);
  out.Set("values", values);
  out.Set("rows", rows);
  out.Set("counts", counts);
  out.Set("backend", result.backend);
  return out;
}

Napi::Function SnapshotObject::define(Napi::Env env) {
  return DefineClass(env, "NativeSnapshot",
                     {InstanceAccessor<&SnapshotObject::get_live_rows>("liveRows"),
                      InstanceAccessor<&SnapshotObject::get_end_row>("endRow"),
                      InstanceMethod<&SnapshotObject::try_search_inline>("trySearchInline"),
                      InstanceMethod<&SnapshotObject::select>("select"),
                      InstanceMethod<&SnapshotObject::search>("search"),
                      InstanceMethod<&SnapshotObject::explain>("explain"),
                      InstanceMethod<&SnapshotObject::live_rows_from>("liveRowsFrom"),
                      InstanceMethod<&SnapshotObject::read_vectors>("readVectors"),
                      InstanceMethod<&SnapshotObject::release>("release")});
}

SnapshotObject::SnapshotObject(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  check_token(info);
}

Napi::Object SnapshotObject::create(Napi::Env env, Context context) {
  auto* object = construct<SnapshotObject>(env, Environment::of(env).snapshot);
  object->snapshot_ = context.collection->snapshot();
  object->context_ = std::move(context);
  return object->Value();
}

const Snapshot& SnapshotObject::snapshot() const {
  context_.check();
  if (snapshot_ == nullptr) throw Failure("CLOSED", "The snapshot is released.");
  return *snapshot_;
}

Napi::Value SnapshotObject::get_live_rows(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value { return number(info.Env(), snapshot().live_rows); });
}

Napi::Value SnapshotObject::get_end_row(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value { return number(info.Env(), snapshot().end_row); });
}

std::shared_ptr<Search> SnapshotObject::make_search(const Napi::CallbackInfo& info, uint32_t* k,
                                                    std::shared_ptr<const Selection> selection) {
  (void)snapshot();
  const Napi::Float32Array queries = floats_arg(info, 0, "queries");
  const uint64_t count = integer_arg(info, 1, "queryCount", kQueriesMax);
  *k = static_cast<uint32_t>(integer_arg(info, 2, "k", kMax));
  if (count < 1 || *k < 1) throw Failure("INVALID_ARGUMENT", "native: queryCount and k are at least 1.");
  if (queries.ElementLength() < count * context_.collection->dim()) {
    throw Failure("DETACHED", "The queries' buffer is too short: it was detached or resized.");
  }
  if (selection != nullptr && &selection->snapshot() != snapshot_.get()) {
    throw Failure("INVALID_ARGUMENT", "native: the selection belongs to another snapshot.");
  }
  return Search::make(context_.runner, *context_.collection, snapshot_, queries.Data(), count, *k,
                      std::move(selection));
}

Napi::Value SnapshotObject::try_search_inline(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const uint64_t count = integer_arg(info, 1, "queryCount", kQueriesMax);
    std::shared_ptr<const Selection> selection = SelectionObject::read(info, 6);
    if (!plan_search_inline(*context_.runner, *context_.collection, snapshot(), count,
                            selection.get())) {
      return Napi::Boolean::New(info.Env(), false);
    }
    uint32_t k = 0;
    const std::shared_ptr<Search> search = make_search(info, &k, std::move(selection));
    Napi::Float32Array values = floats_arg(info, 3, "values");
    Napi::Float64Array rows = doubles_arg(info, 4, "rows");
    if (!info[5].IsTypedArray()) throw Failure("INVALID_ARGUMENT", "native: counts must be a Uint32Array.");
    Napi::Uint32Array counts = info[5].As<Napi::Uint32Array>();
    const size_t slots = size_t{search->query_count()} * k;
    if (counts.TypedArrayType() != napi_uint32_array || values.ElementLength() < slots ||
        rows.ElementLength() < slots || counts.ElementLength() < search->query_count()) {
      throw Failure("INVALID_ARGUMENT", "native: the result arrays are too short.");
    }
    search->run_inline();
    search->release();
    spread(*search, search->result(), k, values.Data(), rows.Data(), counts.Data());
    return Napi::Boolean::New(info.Env(), true);
  });
}

Napi::Value SnapshotObject::search(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    uint32_t k = 0;
    const std::shared_ptr<Search> search = make_search(info, &k, SelectionObject::read(info, 3));
    const std::shared_ptr<Bridge> bridge = Environment::of(env).bridge;
    const auto deferred = Napi::Promise::Deferred::New(env);
    bridge->begin();
    bridge->add_search(search);
    // The search holds this callback until it ends, and the callback the search: no leak, because
    // it is moved out before it is called, and it is called in every case.
    search->start([bridge, deferred, search, k](std::optional<Failure> failure) {
      bridge->post([deferred, search, k, failure](Napi::Env e) {
        search->release();
        if (failure) deferred.Reject(to_error(e, *failure).Value());
        else deferred.Resolve(make_result(e, *search, k));
      });
    });
    Napi::Object job = Napi::Object::New(env);
    job.Set("promise", deferred.Promise());
    const std::weak_ptr<Search> weak = search;
    job.Set("cancel", Napi::Function::New(env, [weak](const Napi::CallbackInfo& call) {
              if (const auto running = weak.lock()) running->cancel();
              return call.Env().Undefined();
            }));
    return job;
  });
}

Napi::Value SnapshotObject::explain(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const Snapshot& view = snapshot();
    const uint64_t count = integer_arg(info, 0, "queryCount", kQueriesMax);
    const std::shared_ptr<const Selection> selection = SelectionObject::read(info, 2);
    const Plan plan =
        plan_search(*context_.runner, *context_.collection, view, count, selection.get());
    Napi::Object out = Napi::Object::New(env);
    out.Set("backend", plan.backend);
    out.Set("device", plan.device);
    out.Set("path", plan.run_inline ? "inline" : "threads");
    out.Set("strategy", plan.strategy);
    out.Set("segments", number(env, view.segments.size()));
    out.Set("rows", number(env, plan.rows));
    out.Set("liveRows", number(env, view.live_rows));
    out.Set("bytes", number(env, plan.bytes));
    out.Set("estimatedMicros", Napi::Number::New(env, plan.estimated_micros));
    Napi::Array reasons = Napi::Array::New(env);
    uint32_t i = 0;
    for (const std::string& reason : plan.reasons) reasons.Set(i++, reason);
    out.Set("reasons", reasons);
    return out;
  });
}

Napi::Value SnapshotObject::live_rows_from(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Snapshot& view = snapshot();
    const uint64_t from = integer_arg(info, 0, "fromRow", kRowMax);
    const uint64_t most = integer_arg(info, 1, "max", 1u << 24);
    std::vector<double> rows;
    for (const SnapshotSegment& s : view.segments) {
      if (s.row_count == 0 || s.segment->row_at(s.row_count - 1) < from) continue;
      uint32_t slot = 0;
      if (!s.segment->compacted() && from > s.segment->first_row()) {
        slot = static_cast<uint32_t>(from - s.segment->first_row());
      }
      for (; slot < s.row_count && rows.size() < most; ++slot) {
        const uint64_t row = s.segment->row_at(slot);
        if (row >= from && s.alive(slot)) rows.push_back(static_cast<double>(row));
      }
      if (rows.size() >= most) break;
    }
    auto out = Napi::Float64Array::New(info.Env(), rows.size());
    std::copy(rows.begin(), rows.end(), out.Data());
    return out;
  });
}

Napi::Value SnapshotObject::read_vectors(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Snapshot& view = snapshot();
    const std::vector<uint64_t> rows = rows_arg(info, 0, "rows");
    const uint32_t dim = context_.collection->dim();
    auto out = Napi::Float32Array::New(info.Env(), rows.size() * dim);
    const auto decode = cpu::best_kernels().decode[context_.collection->dtype()];
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto place = view.find(rows[i]);
      if (!place) {
        throw Failure("INVALID_ARGUMENT", "The snapshot has no row " + std::to_string(rows[i]) + ".");
      }
      const Segment& segment = *view.segments[place->segment].segment;
      decode(segment.data(place->slot), segment.scales(place->slot), 1, dim, out.Data() + i * dim);
    }
    return out;
  });
}

Napi::Value SnapshotObject::release(const Napi::CallbackInfo& info) {
  snapshot_.reset();
  context_.collection.reset();
  context_.runner.reset();
  return info.Env().Undefined();
}

}  // namespace hive::addon
