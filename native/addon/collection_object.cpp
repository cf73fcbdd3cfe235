#include <algorithm>
#include <cmath>

#include "objects.h"

namespace hive::addon {
namespace {

Napi::Number number(Napi::Env env, uint64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}

Napi::Object batch_range(Napi::Env env, const Batch& batch) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("firstRow", number(env, batch.first_row()));
  out.Set("count", number(env, batch.count()));
  return out;
}

// The values of arguments 1 (kind), 3, 4 and 5.
ColumnValues column_values(const Napi::CallbackInfo& info, size_t count) {
  ColumnValues values;
  values.kind = static_cast<ColumnKind>(integer_arg(info, 1, "kind", 3));
  const Napi::Float64Array numbers = doubles_arg(info, 3, "numbers");
  values.numbers.assign(numbers.Data(), numbers.Data() + numbers.ElementLength());
  values.codes = integers_arg(info, 4, "codes");
  values.lengths = integers_arg(info, 5, "lengths");
  uint64_t listed = 0;
  for (const uint32_t length : values.lengths) listed += length;
  const bool lists = values.lengths.size() == count && listed == values.codes.size();
  const bool fits = values.kind == ColumnKind::kPresence ? true
                    : values.kind == ColumnKind::kNumber ? values.numbers.size() == count
                    : values.kind == ColumnKind::kCode   ? values.codes.size() == count
                                                         : lists;
  const bool finite = std::all_of(values.numbers.begin(), values.numbers.end(),
                                  [](double x) { return std::isfinite(x); });
  if (!fits || !finite) {
    throw Failure("INVALID_ARGUMENT", "native: the values of a column are wrong.");
  }
  return values;
}

}  // namespace

void Context::check() const {
  if (collection == nullptr || *closed) throw Failure("CLOSED", "The collection is closed.");
}

// ---- collection

Napi::Function CollectionObject::define(Napi::Env env) {
  return DefineClass(env, "NativeCollection",
                     {InstanceAccessor<&CollectionObject::get_dimensions>("dimensions"),
                      InstanceMethod<&CollectionObject::begin>("begin"),
                      InstanceMethod<&CollectionObject::snapshot>("snapshot"),
                      InstanceMethod<&CollectionObject::restore_column>("restoreColumn"),
                      InstanceMethod<&CollectionObject::stats>("stats"),
                      InstanceMethod<&CollectionObject::close>("close")});
}

CollectionObject::CollectionObject(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  check_token(info);
}

Napi::Object CollectionObject::create(Napi::Env env, Context context) {
  auto* object = construct<CollectionObject>(env, Environment::of(env).collection);
  object->context_ = std::move(context);
  return object->Value();
}

Napi::Value CollectionObject::get_dimensions(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    context_.check();
    return number(info.Env(), context_.collection->dim());
  });
}

Napi::Value CollectionObject::begin(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    context_.check();
    return BatchObject::create(info.Env(), context_);
  });
}

Napi::Value CollectionObject::snapshot(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    context_.check();
    return SnapshotObject::create(info.Env(), context_);
  });
}

Napi::Value CollectionObject::restore_column(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    context_.check();
    const auto id = static_cast<uint32_t>(integer_arg(info, 0, "id", ~0u));
    const std::vector<uint64_t> rows = rows_arg(info, 2, "rows");
    ColumnValues values = column_values(info, rows.size());
    values.positions.resize(rows.size());
    if (!rows.empty()) context_.collection->restore_column(id, std::move(values), rows);
    return info.Env().Undefined();
  });
}

Napi::Value CollectionObject::stats(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    context_.check();
    const CollectionStats stats = context_.collection->stats();
    const Napi::Env env = info.Env();
    Napi::Object out = Napi::Object::New(env);
    out.Set("segments", number(env, stats.segments));
    out.Set("rows", number(env, stats.rows));
    out.Set("liveRows", number(env, stats.live_rows));
    out.Set("hostBytes", number(env, stats.host_bytes));
    out.Set("columnBytes", number(env, stats.column_bytes));
    return out;
  });
}

Napi::Value CollectionObject::close(const Napi::CallbackInfo& info) {
  context_.collection.reset();
  context_.runner.reset();
  return info.Env().Undefined();
}

// ---- batch

Napi::Function BatchObject::define(Napi::Env env) {
  return DefineClass(env, "NativeBatch",
                     {InstanceMethod<&BatchObject::push>("push"),
                      InstanceMethod<&BatchObject::push_copies>("pushCopies"),
                      InstanceMethod<&BatchObject::set_column>("setColumn"),
                      InstanceMethod<&BatchObject::finish>("finish"),
                      InstanceMethod<&BatchObject::try_finish>("tryFinish"),
                      InstanceMethod<&BatchObject::commit>("commit"),
                      InstanceMethod<&BatchObject::abort>("abort")});
}

BatchObject::BatchObject(const Napi::CallbackInfo& info) : ObjectWrap(info) { check_token(info); }

Napi::Object BatchObject::create(Napi::Env env, Context context) {
  std::shared_ptr<Batch> batch = context.collection->begin();
  auto* object = construct<BatchObject>(env, Environment::of(env).batch);
  object->context_ = std::move(context);
  object->batch_ = std::move(batch);
  return object->Value();
}

Batch& BatchObject::batch() const {
  context_.check();
  if (batch_ == nullptr) throw Failure("CLOSED", "The batch is committed or aborted.");
  return *batch_;
}

Napi::Value BatchObject::push(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Float32Array data = floats_arg(info, 0, "data");
    const uint64_t offset = integer_arg(info, 1, "offset", kRowMax);
    const uint64_t count = integer_arg(info, 2, "count", 1u << 31);
    const uint64_t dim = context_.collection == nullptr ? 1 : context_.collection->dim();
    // Re-read on every call: a detached buffer has no elements.
    const uint64_t have = data.ElementLength() / dim;
    if (offset > have || count > have - offset) {
      throw Failure("DETACHED", "The vectors' buffer was detached or resized during the call.");
    }
    if (count > 0) batch().push(data.Data() + offset * dim, count);
    return info.Env().Undefined();
  });
}

Napi::Value BatchObject::push_copies(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    batch().push_copies(rows_arg(info, 0, "rows"));
    return info.Env().Undefined();
  });
}

Napi::Value BatchObject::set_column(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto id = static_cast<uint32_t>(integer_arg(info, 0, "id", ~0u));
    std::vector<uint32_t> positions = integers_arg(info, 2, "positions");
    const size_t count = positions.size();
    ColumnValues values = column_values(info, count);
    values.positions = std::move(positions);
    batch().set_column(id, std::move(values));
    return info.Env().Undefined();
  });
}

Napi::Value BatchObject::finish(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    (void)batch();
    const std::shared_ptr<Bridge> bridge = Environment::of(env).bridge;
    const auto deferred = Napi::Promise::Deferred::New(env);
    bridge->begin();
    batch_->finish([bridge, deferred, batch = batch_](std::optional<Failure> failure) {
      bridge->post([deferred, batch, failure](Napi::Env e) {
        if (!failure) return deferred.Resolve(batch_range(e, *batch));
        batch->abort();
        deferred.Reject(to_error(e, *failure).Value());
      });
    });
    return deferred.Promise();
  });
}

Napi::Value BatchObject::try_finish(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    try {
      if (!batch().finished_now()) return info.Env().Undefined();
    } catch (const Failure&) {
      if (batch_ != nullptr) batch_->abort();
      throw;
    }
    return batch_range(info.Env(), *batch_);
  });
}

Napi::Value BatchObject::commit(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    batch().commit(rows_arg(info, 0, "tombstones"));
    batch_.reset();
    return info.Env().Undefined();
  });
}

Napi::Value BatchObject::abort(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (batch_ != nullptr) batch_->abort();
    batch_.reset();
    return info.Env().Undefined();
  });
}

}  // namespace hive::addon
