// A collection's log, its batches and readers.
// Their methods are described in engine/native-types.ts.
#include "log_object.h"

#include "async.h"

namespace hive::addon {
namespace {

Napi::Number number(Napi::Env env, uint64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}

std::string hex(uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

// UTF-8 of a string argument without an allocation per call.
std::string_view text_view(const Napi::CallbackInfo& info, size_t index,
                           std::vector<char>* buffer) {
  const napi_value value = info[index];
  size_t length = 0;
  if (buffer->size() < 4096) buffer->resize(4096);
  for (;;) {
    if (napi_get_value_string_utf8(info.Env(), value, buffer->data(), buffer->size(), &length) !=
        napi_ok) {
      throw Failure("INVALID_ARGUMENT", "native: a string was expected.");
    }
    // A result that leaves no room for one more character may have been cut.
    if (length + 4 < buffer->size()) return {buffer->data(), length};
    buffer->resize(buffer->size() * 2);
  }
}

Napi::Array file_list(Napi::Env env, const std::vector<LogSpec::FileSpec>& files) {
  Napi::Array out = Napi::Array::New(env);
  uint32_t i = 0;
  for (const LogSpec::FileSpec& file : files) {
    Napi::Object one = Napi::Object::New(env);
    one.Set("number", number(env, file.number));
    one.Set("length", number(env, file.length));
    out.Set(i++, one);
  }
  return out;
}

}  // namespace

// ---- log

Napi::Function LogObject::define(Napi::Env env) {
  return DefineClass(env, "NativeLog",
                     {InstanceMethod<&LogObject::row_of>("rowOf"),
                      InstanceMethod<&LogObject::id_of>("idOf"),
                      InstanceMethod<&LogObject::read>("read"),
                      InstanceMethod<&LogObject::read_vector_of>("readVector"),
                      InstanceMethod<&LogObject::begin>("begin"),
                      InstanceMethod<&LogObject::load>("load"),
                      InstanceMethod<&LogObject::release>("release"),
                      InstanceMethod<&LogObject::release_below>("releaseBelow"),
                      InstanceMethod<&LogObject::seal>("seal"),
                      InstanceMethod<&LogObject::state>("state"),
                      InstanceMethod<&LogObject::live_rows>("liveRows"),
                      InstanceMethod<&LogObject::problems>("problems"),
                      InstanceMethod<&LogObject::changes>("changes"),
                      InstanceMethod<&LogObject::compact>("compact"),
                      InstanceMethod<&LogObject::close>("close")});
}

LogObject::LogObject(const Napi::CallbackInfo& info) : ObjectWrap(info) { check_token(info); }

Napi::Object LogObject::create(Napi::Env env, std::shared_ptr<RecordLog> log) {
  auto* object = construct<LogObject>(env, Environment::of(env).log);
  object->log_ = std::move(log);
  return object->Value();
}

RecordLog& LogObject::log() const {
  if (log_ == nullptr) throw Failure("CLOSED", "The database is closed.");
  return *log_;
}

Napi::Value LogObject::row_of(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto row = log().row_of(text_view(info, 0, &buffer_));
    return row ? number(info.Env(), *row) : info.Env().Undefined();
  });
}

Napi::Value LogObject::id_of(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const RowInfo* row = log().info(integer_arg(info, 0, "row", kRowMax));
    if (row == nullptr) return info.Env().Undefined();
    return Napi::String::New(info.Env(), row->id, row->id_bytes);
  });
}

Napi::Value LogObject::read(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::string record = log().read_record(integer_arg(info, 0, "row", kRowMax));
    return Napi::String::New(info.Env(), record);
  });
}

Napi::Value LogObject::read_vector_of(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::vector<float> vector = read_vector(log(), integer_arg(info, 0, "row", kRowMax));
    auto out = Napi::Float32Array::New(info.Env(), vector.size());
    std::copy(vector.begin(), vector.end(), out.Data());
    return out;
  });
}

Napi::Value LogObject::begin(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const uint64_t expected = integer_arg(info, 0, "expected", kRowMax);
    (void)log();
    return LogBatchObject::create(info.Env(), log_, expected);
  });
}

Napi::Value LogObject::load(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    (void)log();
    const Napi::Env env = info.Env();
    const std::shared_ptr<Collection> collection =
        CollectionObject::Unwrap(object_arg(info, 0, "collection"))->shared();
    const std::shared_ptr<Bridge> bridge = Environment::of(env).bridge;
    const auto deferred = Napi::Promise::Deferred::New(env);
    bridge->begin();
    load_rows(log_, collection, [bridge, deferred](std::optional<Failure> failure) {
      bridge->post([deferred, failure](Napi::Env e) {
        if (failure) deferred.Reject(to_error(e, *failure).Value());
        else deferred.Resolve(e.Undefined());
      });
    });
    return deferred.Promise();
  });
}

Napi::Value LogObject::release(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    log().release(rows_arg(info, 0, "rows"));
    return info.Env().Undefined();
  });
}

Napi::Value LogObject::release_below(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    log().release_below(integer_arg(info, 0, "row", kRowMax));
    return info.Env().Undefined();
  });
}

Napi::Value LogObject::seal(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    log().seal_tail();
    return info.Env().Undefined();
  });
}

Napi::Value LogObject::state(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    Napi::Object out = Napi::Object::New(env);
    out.Set("count", number(env, log().count()));
    out.Set("endRow", number(env, log().end_row()));
    out.Set("nextFile", number(env, log().next_file()));
    out.Set("sequence", number(env, log().last_sequence()));
    out.Set("digest", hex(log().digest()));
    Napi::Array files = Napi::Array::New(env);
    uint32_t i = 0;
    for (const auto& file : log().files()) {
      Napi::Object one = Napi::Object::New(env);
      one.Set("number", number(env, file->number));
      one.Set("length", number(env, file->length));
      one.Set("rows", number(env, file->rows.size()));
      one.Set("releasedRows", number(env, file->released_rows));
      one.Set("frames", number(env, file->frames.size()));
      files.Set(i++, one);
    }
    out.Set("files", files);
    return out;
  });
}

Napi::Value LogObject::live_rows(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    std::vector<double> rows;
    for (const auto& file : log().files()) {
      for (const uint64_t row : file->rows) {
        if (!log().info(row)->dead) rows.push_back(static_cast<double>(row));
      }
    }
    auto out = Napi::Float64Array::New(info.Env(), rows.size());
    std::copy(rows.begin(), rows.end(), out.Data());
    return out;
  });
}

Napi::Value LogObject::problems(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    Napi::Array out = Napi::Array::New(env);
    uint32_t i = 0;
    for (const LogProblem& problem : log().problems()) {
      Napi::Object one = Napi::Object::New(env);
      one.Set("file", problem.file);
      one.Set("offset", Napi::Number::New(env, static_cast<double>(problem.offset)));
      one.Set("message", problem.message);
      out.Set(i++, one);
    }
    return out;
  });
}

Napi::Value LogObject::changes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const uint64_t from = integer_arg(info, 0, "fromSequence", kRowMax);
    const auto reader = std::make_shared<ChangeReader>(log(), from);
    Napi::Object out = Napi::Object::New(env);
    out.Set("next", Napi::Function::New(env, [reader](const Napi::CallbackInfo& call) {
              return guarded(call.Env(), [&]() -> Napi::Value {
                const uint64_t bytes = integer_arg(call, 0, "bytes", kRowMax);
                return on_worker(call.Env(), Workers::files(),
                                 [reader, bytes] { return reader->next(bytes); }, changes_value);
              });
            }, "next"));
    return out;
  });
}

Napi::Value LogObject::changes_value(Napi::Env env, const Changes& changes) {
  Napi::Object out = Napi::Object::New(env);
  const size_t count = changes.changes.size();
  auto sequences = Napi::Float64Array::New(env, count);
  auto kinds = Napi::Uint8Array::New(env, count);
  Napi::Array ids = Napi::Array::New(env, count);
  Napi::Array records = Napi::Array::New(env, count);
  for (uint32_t i = 0; i < count; ++i) {
    const Change& change = changes.changes[i];
    sequences[i] = static_cast<double>(change.sequence);
    kinds[i] = static_cast<uint8_t>(change.kind);
    ids.Set(i, change.id);
    records.Set(i, change.record);
  }
  auto vectors = Napi::Float32Array::New(env, changes.vectors.size());
  std::copy(changes.vectors.begin(), changes.vectors.end(), vectors.Data());
  out.Set("sequences", sequences);
  out.Set("kinds", kinds);
  out.Set("ids", ids);
  out.Set("records", records);
  out.Set("vectors", vectors);
  return out;
}

Napi::Value LogObject::compact(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const size_t files = log().files().size();
    const uint64_t first = integer_arg(info, 0, "first", files);
    const uint64_t count = integer_arg(info, 1, "count", files - first);
    const uint64_t retain = integer_arg(info, 2, "retainFrom", kRowMax);
    if (count < 1) throw Failure("INVALID_ARGUMENT", "native: nothing to compact.");
    auto work = std::make_shared<Compaction>(log_, first, count, retain);
    return on_worker(
        env, Workers::files(),
        [work] {
          try {
            work->run();
          } catch (...) {
            work->abandon();
            throw;
          }
          return work;
        },
        compaction_value);
  });
}

Napi::Value LogObject::compaction_value(Napi::Env env, std::shared_ptr<Compaction> work) {
  Napi::Object out = Napi::Object::New(env);
  std::vector<LogSpec::FileSpec> sources;
  for (const auto& source : work->sources) sources.push_back({source->number, source->length});
  out.Set("sources", file_list(env, sources));
  if (work->target != nullptr) {
    out.Set("target", file_list(env, {{work->target->number, work->target->length}}).Get(0u));
  }
  out.Set("droppedThrough", number(env, work->dropped_through));
  const auto then = [work](bool keep) {
    return [work, keep](const Napi::CallbackInfo& call) {
      return guarded(call.Env(), [&]() -> Napi::Value {
        if (keep) work->swap();
        return on_worker(
            call.Env(), Workers::files(),
            [work, keep] {
              if (keep) work->remove_sources();
              else work->abandon();
              return true;
            },
            [](Napi::Env e, bool) -> Napi::Value { return e.Undefined(); });
      });
    };
  };
  out.Set("swap", Napi::Function::New(env, then(true), "swap"));
  out.Set("abandon", Napi::Function::New(env, then(false), "abandon"));
  return out;
}

Napi::Value LogObject::close(const Napi::CallbackInfo& info) {
  log_.reset();
  return info.Env().Undefined();
}

// ---- batch

Napi::Function LogBatchObject::define(Napi::Env env) {
  return DefineClass(env, "NativeLogBatch",
                     {InstanceMethod<&LogBatchObject::stage>("stage"),
                      InstanceMethod<&LogBatchObject::remove>("remove"),
                      InstanceMethod<&LogBatchObject::clear>("clear"),
                      InstanceMethod<&LogBatchObject::prepare>("prepare"),
                      InstanceMethod<&LogBatchObject::tombstones>("tombstones"),
                      InstanceMethod<&LogBatchObject::append>("append"),
                      InstanceMethod<&LogBatchObject::abandon>("abandon"),
                      InstanceMethod<&LogBatchObject::install>("install"),
                      InstanceMethod<&LogBatchObject::publish>("publish"),
                      InstanceMethod<&LogBatchObject::merge>("merge"),
                      InstanceMethod<&LogBatchObject::finish>("finish")});
}

LogBatchObject::LogBatchObject(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  check_token(info);
}

Napi::Object LogBatchObject::create(Napi::Env env, const std::shared_ptr<RecordLog>& log,
                                    uint64_t expected) {
  std::shared_ptr<LogBatch> batch = log->begin(expected);
  auto* object = construct<LogBatchObject>(env, Environment::of(env).log_batch);
  object->batch_ = std::move(batch);
  return object->Value();
}

LogBatch& LogBatchObject::batch() const {
  if (batch_ == nullptr) throw Failure("CLOSED", "The batch is finished.");
  return *batch_;
}

Napi::Value LogBatchObject::stage(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::string_view id = text_view(info, 0, &id_);
    const auto before = batch().stage(id, text_view(info, 1, &record_));
    return Napi::Number::New(info.Env(), before ? static_cast<double>(*before) : -1);
  });
}

Napi::Value LogBatchObject::remove(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const bool first = batch().remove(integer_arg(info, 0, "row", kRowMax));
    return Napi::Boolean::New(info.Env(), first);
  });
}

Napi::Value LogBatchObject::clear(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    batch().clear();
    return info.Env().Undefined();
  });
}

Napi::Value LogBatchObject::prepare(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const uint64_t first = integer_arg(info, 0, "firstRow", kRowMax);
    const uint64_t most = integer_arg(info, 1, "most", kRowMax);
    return Napi::Boolean::New(info.Env(), batch().prepare_next(first, most));
  });
}

Napi::Value LogBatchObject::tombstones(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::vector<uint64_t>& rows = batch().tombstones();
    auto out = Napi::Float64Array::New(info.Env(), rows.size());
    for (size_t i = 0; i < rows.size(); ++i) out[i] = static_cast<double>(rows[i]);
    return out;
  });
}

Napi::Value LogBatchObject::append(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    (void)batch();
    std::shared_ptr<Batch> vectors;
    if (!info[0].IsUndefined()) {
      vectors = BatchObject::Unwrap(object_arg(info, 0, "vectors"))->shared();
    }
    const uint64_t sequence = integer_arg(info, 1, "sequence", kRowMax);
    const bool sync = info[2].ToBoolean().Value();
    return on_worker(
        info.Env(), Workers::files(),
        [batch = batch_, vectors, sequence, sync] {
          batch->append(vectors.get(), sequence, sync);
          return batch;
        },
        [](Napi::Env env, const std::shared_ptr<LogBatch>& done) -> Napi::Value {
          Napi::Object out = Napi::Object::New(env);
          out.Set("touched", file_list(env, done->touched()));
          out.Set("count", number(env, done->count_after()));
          out.Set("endRow", number(env, done->end_row_after()));
          out.Set("nextFile", number(env, done->next_file_after()));
          out.Set("digest", hex(done->digest_after()));
          return out;
        });
  });
}

Napi::Value LogBatchObject::abandon(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    (void)batch();
    return on_worker(
        info.Env(), Workers::files(),
        [batch = batch_] {
          batch->abandon();
          return true;
        },
        [](Napi::Env env, bool) -> Napi::Value { return env.Undefined(); });
  });
}

Napi::Value LogBatchObject::install(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const bool done = batch().install_next(integer_arg(info, 0, "most", kRowMax));
    return Napi::Boolean::New(info.Env(), done);
  });
}

Napi::Value LogBatchObject::publish(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    batch().publish();
    return info.Env().Undefined();
  });
}

Napi::Value LogBatchObject::merge(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const bool done = batch().merge_next(integer_arg(info, 0, "most", kRowMax));
    return Napi::Boolean::New(info.Env(), done);
  });
}

Napi::Value LogBatchObject::finish(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (batch_ != nullptr) batch_->finish();
    batch_.reset();
    return info.Env().Undefined();
  });
}

}  // namespace hive::addon
