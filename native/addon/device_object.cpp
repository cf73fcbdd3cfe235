#include "objects.h"

namespace hive::addon {
namespace {

constexpr const char* kKinds[] = {"cpu", "integrated", "discrete", "software"};

Napi::Number number(Napi::Env env, uint64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}

std::string string_of(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (value.IsUndefined() || value.IsNull()) return "";
  if (!value.IsString()) throw Failure("INVALID_ARGUMENT", std::string("native: ") + key + " must be a string.");
  return value.As<Napi::String>().Utf8Value();
}

uint64_t integer_of(const Napi::Object& object, const char* key, uint64_t most) {
  const Napi::Value value = object.Get(key);
  if (value.IsUndefined() || value.IsNull()) return 0;
  const double n = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(n >= 0 && n <= static_cast<double>(most))) {
    throw Failure("INVALID_ARGUMENT", std::string("native: ") + key + " is out of range.");
  }
  return static_cast<uint64_t>(n);
}

template <size_t N>
uint32_t find_name(const std::string& name, const char* const (&names)[N], const char* what) {
  for (uint32_t i = 0; i < N; ++i) {
    if (name == names[i]) return i;
  }
  throw Failure("INVALID_ARGUMENT", "There is no " + std::string(what) + " \"" + name + "\".");
}

constexpr const char* kMetrics[] = {
#define HIVE_METRIC(NAME, name, number, greater) #name,
#include "hive_metrics.def"
#undef HIVE_METRIC
};
constexpr const char* kDtypes[] = {
#define HIVE_DTYPE(NAME, name, number, bytes, scale) #name,
#include "hive_dtypes.def"
#undef HIVE_DTYPE
};

}  // namespace

uint32_t find_metric(const std::string& name) { return find_name(name, kMetrics, "metric"); }
uint32_t find_dtype(const std::string& name) { return find_name(name, kDtypes, "dtype"); }
const char* metric_name(uint32_t metric) { return kMetrics[metric]; }
const char* dtype_name(uint32_t dtype) { return kDtypes[dtype]; }

OpenOptions read_open_options(const Napi::CallbackInfo& info, size_t index) {
  const Napi::Object object = object_arg(info, index, "options");
  OpenOptions options;
  const Napi::Value paths = object.Get("searchPaths");
  if (!paths.IsArray()) throw Failure("INVALID_ARGUMENT", "native: searchPaths must be an array.");
  const auto list = paths.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const std::string path = list.Get(i).ToString().Utf8Value();
    // Relative paths would let the working directory decide which code is loaded.
    if (path.empty() || (path[0] != '/' && path.find(':') != 1)) {
      throw Failure("INVALID_ARGUMENT", "native: searchPaths must be absolute.");
    }
    options.search_paths.push_back(path);
  }
  options.backend = string_of(object, "backend");
  options.device_index = static_cast<uint32_t>(integer_of(object, "deviceIndex", 1024));
  options.bus_id = string_of(object, "busId");
  options.host_threads = static_cast<uint32_t>(integer_of(object, "hostThreads", 1024));
  options.cpu_config = string_of(object, "cpuConfig");
  options.fault_config = string_of(object, "faultConfig");
  options.memory_budget_bytes = integer_of(object, "memoryBudgetBytes", kRowMax);
  const Napi::Value config = object.Get("backendConfig");
  if (config.IsObject()) {
    const auto settings = config.As<Napi::Object>();
    const Napi::Array names = settings.GetPropertyNames();
    for (uint32_t i = 0; i < names.Length(); ++i) {
      const std::string name = names.Get(i).ToString().Utf8Value();
      options.backend_config[name] = string_of(settings, name.c_str());
    }
  }
  return options;
}

Napi::Object describe_device(Napi::Env env, const std::string& backend, uint32_t index,
                             const hive_device_info& info) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("backend", backend);
  out.Set("index", number(env, index));
  out.Set("name", std::string(info.name));
  out.Set("vendor", std::string(info.vendor));
  out.Set("vendorId", number(env, info.vendor_id));
  out.Set("driver", std::string(info.driver));
  out.Set("busId", std::string(info.bus_id));
  out.Set("kind", std::string(kKinds[info.kind < 4 ? info.kind : 2]));
  out.Set("computeUnits", number(env, info.compute_units));
  out.Set("memoryTotalBytes", number(env, info.memory_total_bytes));
  out.Set("maxK", number(env, info.max_k));
  out.Set("maxSegmentBytes", number(env, info.max_segment_bytes));
  out.Set("hostMemory", Napi::Boolean::New(env, (info.caps & HIVE_CAP_HOST_MEMORY) != 0));
  return out;
}

Napi::Function DeviceObject::define(Napi::Env env) {
  return DefineClass(env, "NativeDevice",
                     {InstanceAccessor<&DeviceObject::get_info>("info"),
                      InstanceAccessor<&DeviceObject::get_forced>("forced"),
                      InstanceAccessor<&DeviceObject::get_reasons>("reasons"),
                      InstanceMethod<&DeviceObject::memory>("memory"),
                      InstanceMethod<&DeviceObject::health>("health"),
                      InstanceMethod<&DeviceObject::on_fallback>("onFallback"),
                      InstanceMethod<&DeviceObject::create_collection>("createCollection"),
                      InstanceMethod<&DeviceObject::close>("close")});
}

DeviceObject::DeviceObject(const Napi::CallbackInfo& info) : ObjectWrap(info) { check_token(info); }

Napi::Object DeviceObject::create(Napi::Env env, DeviceChoice choice) {
  auto* object = construct<DeviceObject>(env, Environment::of(env).device);
  object->runner_ = std::make_shared<Runner>(std::move(choice));
  return object->Value();
}

const std::shared_ptr<Runner>& DeviceObject::runner() const {
  if (runner_ == nullptr) throw Failure("CLOSED", "The device is closed.");
  return runner_;
}

Napi::Value DeviceObject::get_info(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Device& device = *runner()->choice().device;
    return describe_device(info.Env(), device.backend(), device.index(), device.info());
  });
}

Napi::Value DeviceObject::get_forced(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Boolean::New(info.Env(), runner()->choice().forced);
  });
}

Napi::Value DeviceObject::get_reasons(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Napi::Array out = Napi::Array::New(info.Env());
    uint32_t i = 0;
    for (const std::string& reason : runner()->choice().reasons) out.Set(i++, reason);
    return out;
  });
}

Napi::Value DeviceObject::memory(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    Device& device = *runner()->choice().device;
    const hive_memory_info memory = device.memory();
    const ResidencyStats stats = device.residency().stats();
    Napi::Object out = Napi::Object::New(env);
    out.Set("totalBytes", number(env, memory.total_bytes));
    out.Set("freeBytes", number(env, memory.free_bytes));
    out.Set("usedBytes", number(env, memory.used_bytes));
    out.Set("budgetBytes", number(env, stats.budget_bytes));
    out.Set("residentBytes", number(env, stats.resident_bytes));
    out.Set("evictions", number(env, stats.evictions));
    return out;
  });
}

Napi::Value DeviceObject::health(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const hive_health health = runner()->choice().device->health();
    Napi::Object out = Napi::Object::New(env);
    out.Set("status", std::string(status_name(health.status)));
    out.Set("detail", std::string(health.detail));
    out.Set("jobsSubmitted", number(env, health.jobs_submitted));
    out.Set("jobsFinished", number(env, health.jobs_finished));
    out.Set("jobsFailed", number(env, health.jobs_failed));
    out.Set("rowsScanned", number(env, health.rows_scanned));
    return out;
  });
}

Napi::Value DeviceObject::on_fallback(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (!info[0].IsFunction()) throw Failure("INVALID_ARGUMENT", "native: listener must be a function.");
    listener_ = std::make_shared<Napi::FunctionReference>(
        Napi::Persistent(info[0].As<Napi::Function>()));
    // Weak both ways: the listener goes with this object, which JavaScript owns, and neither is
    // ever destroyed on another thread.
    const std::weak_ptr<Bridge> bridge = Environment::of(info.Env()).bridge;
    const std::weak_ptr<Napi::FunctionReference> listener = listener_;
    runner()->on_fallback([bridge, listener](const std::string& reason) {
      const std::shared_ptr<Bridge> to = bridge.lock();
      if (to == nullptr) return;
      to->post_extra([listener, reason](Napi::Env env) {
        if (const auto call = listener.lock()) call->Call({Napi::String::New(env, reason)});
      });
    });
    return info.Env().Undefined();
  });
}

Napi::Value DeviceObject::create_collection(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Object options = object_arg(info, 0, "options");
    const uint64_t dim = integer_of(options, "dimensions", 65536);
    if (dim < 1) throw Failure("INVALID_ARGUMENT", "native: dimensions must be 1 to 65536.");
    const uint32_t metric = find_metric(string_of(options, "metric"));
    const uint32_t dtype = find_dtype(string_of(options, "dtype"));
    auto collection = std::make_shared<Collection>(static_cast<uint32_t>(dim), metric, dtype,
                                                   runner()->choice().device->segment_bytes_max(),
                                                   integer_of(options, "firstRow", kRowMax));
    return CollectionObject::create(info.Env(), {runner(), std::move(collection), closed_});
  });
}

Napi::Value DeviceObject::close(const Napi::CallbackInfo& info) {
  *closed_ = true;
  runner_.reset();
  listener_.reset();
  return info.Env().Undefined();
}

}  // namespace hive::addon
