// The JavaScript classes of the durable store; described in engine/native-types.ts.
#pragma once

#include "objects.h"
#include "record_log.h"

namespace hive::addon {

// Adds `storage` to the exports.
void define_storage(Napi::Env env, Napi::Object exports);

class LogObject : public Napi::ObjectWrap<LogObject> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, std::shared_ptr<RecordLog> log);
  explicit LogObject(const Napi::CallbackInfo& info);

 private:
  RecordLog& log() const;
  static Napi::Value changes_value(Napi::Env env, const Changes& changes);
  static Napi::Value compaction_value(Napi::Env env, std::shared_ptr<Compaction> work);
  Napi::Value row_of(const Napi::CallbackInfo& info);
  Napi::Value id_of(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  Napi::Value read_vector_of(const Napi::CallbackInfo& info);
  Napi::Value begin(const Napi::CallbackInfo& info);
  Napi::Value load(const Napi::CallbackInfo& info);
  Napi::Value release(const Napi::CallbackInfo& info);
  Napi::Value release_below(const Napi::CallbackInfo& info);
  Napi::Value seal(const Napi::CallbackInfo& info);
  Napi::Value state(const Napi::CallbackInfo& info);
  Napi::Value live_rows(const Napi::CallbackInfo& info);
  Napi::Value problems(const Napi::CallbackInfo& info);
  Napi::Value changes(const Napi::CallbackInfo& info);
  Napi::Value compact(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  std::shared_ptr<RecordLog> log_;  // null once closed
  std::vector<char> buffer_;
};

class LogBatchObject : public Napi::ObjectWrap<LogBatchObject> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, const std::shared_ptr<RecordLog>& log,
                             uint64_t expected);
  explicit LogBatchObject(const Napi::CallbackInfo& info);

 private:
  LogBatch& batch() const;
  Napi::Value stage(const Napi::CallbackInfo& info);
  Napi::Value remove(const Napi::CallbackInfo& info);
  Napi::Value clear(const Napi::CallbackInfo& info);
  Napi::Value prepare(const Napi::CallbackInfo& info);
  Napi::Value tombstones(const Napi::CallbackInfo& info);
  Napi::Value append(const Napi::CallbackInfo& info);
  Napi::Value abandon(const Napi::CallbackInfo& info);
  Napi::Value install(const Napi::CallbackInfo& info);
  Napi::Value publish(const Napi::CallbackInfo& info);
  Napi::Value merge(const Napi::CallbackInfo& info);
  Napi::Value finish(const Napi::CallbackInfo& info);

  std::shared_ptr<LogBatch> batch_;  // null once finished
  std::vector<char> id_;
  std::vector<char> record_;
};

}  // namespace hive::addon
