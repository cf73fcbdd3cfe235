// Module initialisation: the lists, probe and openDevice.
#include "async.h"
#include "log_object.h"
#include "objects.h"

namespace hive::addon {
namespace {

// A named function: g++ 12 cannot take a lambda as the finalizer of instance data.
void delete_environment(napi_env, void* data, void*) { delete static_cast<Environment*>(data); }

template <class Add>
Napi::Array list_of(Napi::Env env, Add add) {
  Napi::Array list = Napi::Array::New(env);
  add([&](Napi::Object row) { list.Set(list.Length(), row); });
  return list;
}

Napi::Object row(Napi::Env env, const char* name, int64_t number) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("name", std::string(name));
  out.Set("number", Napi::Number::New(env, static_cast<double>(number)));
  return out;
}

Napi::Object make_lists(Napi::Env env) {
  Napi::Object lists = Napi::Object::New(env);
  lists.Set("statuses", list_of(env, [&](auto add) {
#define HIVE_STATUS(NAME, number, scope, retryable)          \
  {                                                          \
    Napi::Object r = row(env, #NAME, number);                \
    r.Set("scope", std::string(#scope));                     \
    r.Set("retryable", Napi::Boolean::New(env, retryable));  \
    add(r);                                                  \
  }
#include "hive_status.def"
#undef HIVE_STATUS
            }));
  lists.Set("metrics", list_of(env, [&](auto add) {
#define HIVE_METRIC(NAME, name, number, greater)                \
  {                                                             \
    Napi::Object r = row(env, #name, number);                   \
    r.Set("greaterIsCloser", Napi::Boolean::New(env, greater)); \
    add(r);                                                     \
  }
#include "hive_metrics.def"
#undef HIVE_METRIC
            }));
  lists.Set("dtypes", list_of(env, [&](auto add) {
#define HIVE_DTYPE(NAME, name, number, bytes, scale)  \
  {                                                   \
    Napi::Object r = row(env, #name, number);         \
    r.Set("bytes", Napi::Number::New(env, bytes));    \
    add(r);                                           \
  }
#include "hive_dtypes.def"
#undef HIVE_DTYPE
            }));
  lists.Set("ops", list_of(env, [&](auto add) {
#define HIVE_OP(NAME, name, number) add(row(env, #name, number));
#include "hive_ops.def"
#undef HIVE_OP
            }));
  lists.Set("backends", list_of(env, [&](auto add) {
#define HIVE_BACKEND_NAME(name, score_, selectable_, hint_)        \
  {                                                                \
    Napi::Object r = Napi::Object::New(env);                       \
    r.Set("name", std::string(#name));                             \
    r.Set("score", Napi::Number::New(env, score_));                \
    r.Set("selectable", Napi::Boolean::New(env, selectable_));     \
    r.Set("hint", std::string(hint_));                             \
    add(r);                                                        \
  }
#include "hive_backends.def"
#undef HIVE_BACKEND_NAME
            }));
  return lists;
}

Napi::Object describe(Napi::Env env, const BackendReport& report) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("name", report.name);
  out.Set("built", Napi::Boolean::New(env, report.built));
  out.Set("library", report.library);
  out.Set("loaded", Napi::Boolean::New(env, report.loaded));
  out.Set("usable", Napi::Boolean::New(env, report.usable));
  out.Set("status", std::string(status_name(report.status)));
  out.Set("reason", report.reason);
  out.Set("version", report.version);
  out.Set("selectable", Napi::Boolean::New(env, report.selectable));
  out.Set("score", Napi::Number::New(env, report.score));
  Napi::Array devices = Napi::Array::New(env);
  for (uint32_t i = 0; i < report.devices.size(); ++i) {
    devices.Set(i, describe_device(env, report.name, i, report.devices[i]));
  }
  out.Set("devices", devices);
  return out;
}

Napi::Value probe(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const OpenOptions options = read_open_options(info, 0);
    return on_worker(
        info.Env(), Workers::shared(), [options] { return probe_backends(options); },
        [](Napi::Env env, const std::vector<BackendReport>& reports) -> Napi::Value {
          Napi::Array out = Napi::Array::New(env);
          uint32_t i = 0;
          for (const BackendReport& report : reports) out.Set(i++, describe(env, report));
          return out;
        });
  });
}

Napi::Value open_device(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const OpenOptions options = read_open_options(info, 0);
    return on_worker(
        info.Env(), Workers::shared(), [options] { return choose_device(options); },
        [](Napi::Env env, DeviceChoice choice) -> Napi::Value {
          return DeviceObject::create(env, std::move(choice));
        });
  });
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  return guarded(env, [&] {
    auto environment = std::make_unique<Environment>();
    environment->bridge = Bridge::create(env);
    environment->device = Napi::Persistent(DeviceObject::define(env));
    environment->collection = Napi::Persistent(CollectionObject::define(env));
    environment->batch = Napi::Persistent(BatchObject::define(env));
    environment->snapshot = Napi::Persistent(SnapshotObject::define(env));
    environment->log = Napi::Persistent(LogObject::define(env));
    environment->log_batch = Napi::Persistent(LogBatchObject::define(env));
    environment->selection = Napi::Persistent(SelectionObject::define(env));
    if (napi_set_instance_data(env, environment.get(), delete_environment, nullptr) != napi_ok) {
      throw Failure("INTERNAL", "The environment refused instance data.");
    }
    (void)environment.release();
    exports.Set("abi", Napi::Number::New(env, HIVE_BACKEND_ABI));
    exports.Set("lists", make_lists(env));
    exports.Set("probe", Napi::Function::New(env, probe, "probe"));
    define_storage(env, exports);
    exports.Set("openDevice", Napi::Function::New(env, open_device, "openDevice"));
    return exports;
  });
}

}  // namespace
}  // namespace hive::addon

static Napi::Object InitialiseAddon(Napi::Env env, Napi::Object exports) {
  return hive::addon::initialise(env, exports);
}

NODE_API_MODULE(hive_gpu, InitialiseAddon)
