// The durable store's functions that need no log: checksums, locks, opening, faults for tests.
#include "async.h"
#include "log_object.h"

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

std::string string_of(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsString()) {
    throw Failure("INVALID_ARGUMENT", std::string("native: ") + key + " must be a string.");
  }
  return value.As<Napi::String>().Utf8Value();
}

uint64_t number_of(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  const double n = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(n >= 0 && n <= static_cast<double>(kRowMax))) {
    throw Failure("INVALID_ARGUMENT", std::string("native: ") + key + " must be a whole number.");
  }
  return static_cast<uint64_t>(n);
}

bool flag_of(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  return value.IsBoolean() && value.As<Napi::Boolean>().Value();
}

std::string text_arg(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsString()) {
    throw Failure("INVALID_ARGUMENT", std::string("native: ") + name + " must be a string.");
  }
  return info[index].As<Napi::String>().Utf8Value();
}

LogSpec read_spec(const Napi::Object& o) {
  LogSpec spec;
  spec.directory = string_of(o, "directory");
  const std::string id = string_of(o, "database");
  if (id.size() != 32) throw Failure("INVALID_ARGUMENT", "native: database must be 32 hex digits.");
  for (size_t i = 0; i < 32; i += 2) {
    spec.identity.database += static_cast<char>(std::stoi(id.substr(i, 2), nullptr, 16));
  }
  spec.identity.collection = number_of(o, "collection");
  spec.identity.name = string_of(o, "name");
  spec.identity.dim = static_cast<uint32_t>(number_of(o, "dimensions"));
  if (spec.identity.dim < 1 || spec.identity.dim > 65536) {
    throw Failure("INVALID_ARGUMENT", "native: dimensions must be 1 to 65536.");
  }
  spec.identity.dtype = find_dtype(string_of(o, "dtype"));
  spec.identity.metric = find_metric(string_of(o, "metric"));
  spec.next_file = number_of(o, "nextFile");
  spec.end_row = number_of(o, "endRow");
  spec.sequence = number_of(o, "sequence");
  const Napi::Value newer = o.Get("newer");
  for (uint32_t i = 0; newer.IsArray() && i < newer.As<Napi::Array>().Length(); ++i) {
    spec.newer.push_back(static_cast<uint64_t>(
        newer.As<Napi::Array>().Get(i).ToNumber().Int64Value()));
  }
  spec.writable = flag_of(o, "writable");
  spec.tolerant = flag_of(o, "tolerant");
  const Napi::Value files = o.Get("files");
  if (!files.IsArray()) throw Failure("INVALID_ARGUMENT", "native: files must be an array.");
  const auto list = files.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const auto file = list.Get(i).As<Napi::Object>();
    const bool whole = file.Get("length").IsUndefined();
    spec.files.push_back(
        {number_of(file, "number"), whole ? LogSpec::kWhole : number_of(file, "length")});
  }
  return spec;
}

Napi::Value crc32c_of(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (!info[0].IsTypedArray()) throw Failure("INVALID_ARGUMENT", "native: bytes are expected.");
    const auto array = info[0].As<Napi::Uint8Array>();
    return Napi::Number::New(info.Env(), crc32c(0, array.Data(), array.ByteLength()));
  });
}

Napi::Value sync_directory_of(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::string path = text_arg(info, 0, "path");
    return on_worker(
        info.Env(), Workers::files(),
        [path] {
          sync_directory(path);
          return true;
        },
        [](Napi::Env env, bool) -> Napi::Value { return env.Undefined(); });
  });
}

Napi::Value lock(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    auto held = std::make_shared<std::unique_ptr<FileLock>>(
        std::make_unique<FileLock>(text_arg(info, 0, "path")));
    Napi::Object out = Napi::Object::New(env);
    out.Set("release", Napi::Function::New(env, [held](const Napi::CallbackInfo&) { held->reset(); },
                                           "release"));
    return out;
  });
}

Napi::Value set_fault(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    set_file_fault(integer_arg(info, 0, "at", kRowMax),
                   static_cast<int>(integer_arg(info, 1, "errno", 1000)),
                   info[2].ToBoolean().Value());
    return info.Env().Undefined();
  });
}

Napi::Value operations(const Napi::CallbackInfo& info) {
  return number(info.Env(), file_operations());
}

// What a segment file says about its collection; for databases without an index.
Napi::Value describe_file(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::string path = text_arg(info, 0, "path");
    const uint64_t file_number = integer_arg(info, 1, "number", kRowMax);
    return on_worker(
        info.Env(), Workers::files(),
        [path, file_number] {
          return summarize_file(path, file_number);
        },
        [](Napi::Env env, const FileSummary& summary) -> Napi::Value {
          const LogIdentity& identity = summary.identity;
          Napi::Object out = Napi::Object::New(env);
          std::string database;
          for (const char c : identity.database) database += hex(static_cast<uint8_t>(c)).substr(14);
          out.Set("database", database);
          out.Set("collection", number(env, identity.collection));
          out.Set("name", identity.name);
          out.Set("dimensions", number(env, identity.dim));
          out.Set("dtype", std::string(dtype_name(identity.dtype)));
          out.Set("metric", std::string(metric_name(identity.metric)));
          out.Set("bytes", number(env, summary.bytes));
          out.Set("firstRow", number(env, summary.first_row));
          out.Set("complete", Napi::Boolean::New(env, summary.complete));
          if (!summary.damage.empty()) out.Set("damage", summary.damage);
          Napi::Array replaces = Napi::Array::New(env);
          for (const uint64_t n : summary.replaces) replaces.Set(replaces.Length(), number(env, n));
          out.Set("replaces", replaces);
          return out;
        });
  });
}

Napi::Value open_log(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const LogSpec spec = read_spec(object_arg(info, 0, "options"));
    return on_worker(
        info.Env(), Workers::files(), [spec] { return RecordLog::open(spec); },
        [](Napi::Env env, std::shared_ptr<RecordLog> log) -> Napi::Value {
          return LogObject::create(env, std::move(log));
        });
  });
}

}  // namespace

void define_storage(Napi::Env env, Napi::Object exports) {
  Napi::Object storage = Napi::Object::New(env);
  storage.Set("crc32c", Napi::Function::New(env, crc32c_of, "crc32c"));
  storage.Set("lock", Napi::Function::New(env, lock, "lock"));
  storage.Set("syncDirectory", Napi::Function::New(env, sync_directory_of, "syncDirectory"));
  storage.Set("openLog", Napi::Function::New(env, open_log, "openLog"));
  storage.Set("describeFile", Napi::Function::New(env, describe_file, "describeFile"));
  storage.Set("setFault", Napi::Function::New(env, set_fault, "setFault"));
  storage.Set("operations", Napi::Function::New(env, operations, "operations"));
  exports.Set("storage", storage);
}

}  // namespace hive::addon
