#include "environment.h"

#include <cmath>

namespace hive::addon {
namespace {

void close_bridge(void* data) {
  auto* bridge = static_cast<std::shared_ptr<Bridge>*>(data);
  (*bridge)->close();
  delete bridge;
}

Failure bad_argument(const char* name, const char* wanted) {
  return {"INVALID_ARGUMENT", std::string("native: ") + name + " must be " + wanted + "."};
}

}  // namespace

std::shared_ptr<Bridge> Bridge::create(napi_env env) {
  auto bridge = std::make_shared<Bridge>();
  napi_value name = nullptr;
  napi_status status = napi_create_string_utf8(env, "hive-gpu", NAPI_AUTO_LENGTH, &name);
  if (status == napi_ok) {
    status = napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr,
                                             bridge.get(), &Bridge::drain, &bridge->function_);
  }
  // An idle database must not keep the process alive.
  if (status == napi_ok) status = napi_unref_threadsafe_function(env, bridge->function_);
  bridge->env_ = env;
  if (status == napi_ok) {
    // Registered after the function's own hook, so it runs before it.
    auto* held = new std::shared_ptr<Bridge>(bridge);
    status = napi_add_env_cleanup_hook(env, close_bridge, held);
  }
  if (status != napi_ok) throw Failure("INTERNAL", "The environment refused a thread-safe function.");
  return bridge;
}

void Bridge::begin() {
  const std::lock_guard lock(mutex_);
  if (closed_) throw Failure("CLOSED", "The JavaScript environment is shutting down.");
  ++under_way_;
  if (referenced_++ == 0) napi_ref_threadsafe_function(env_, function_);
}

void Bridge::add_search(const std::shared_ptr<Search>& search) {
  const std::lock_guard lock(mutex_);
  std::erase_if(searches_, [](const std::weak_ptr<Search>& s) { return s.expired(); });
  searches_.insert(search);
}

void Bridge::post(std::function<void(Napi::Env)> work) {
  const std::lock_guard lock(mutex_);
  if (!closed_) {
    queue_.push_back({std::move(work), true});
    napi_call_threadsafe_function(function_, nullptr, napi_tsfn_nonblocking);
  }
  --under_way_;
  // Under the lock: close() may let the bridge go as soon as it sees zero.
  idle_.notify_all();
}

void Bridge::post_extra(std::function<void(Napi::Env)> work) {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  queue_.push_back({std::move(work), false});
  napi_call_threadsafe_function(function_, nullptr, napi_tsfn_nonblocking);
}

void Bridge::drain(napi_env env, napi_value, void* context, void*) {
  // env is null while the environment is torn down; the queue is dropped then.
  if (env != nullptr) static_cast<Bridge*>(context)->run_queue(env);
}

void Bridge::run_queue(napi_env env) {
  const std::shared_ptr<Bridge> self = shared_from_this();
  for (;;) {
    std::function<void(Napi::Env)> work;
    {
      const std::lock_guard lock(mutex_);
      if (queue_.empty()) return;
      work = std::move(queue_.front().work);
      const bool begun = queue_.front().begun;
      queue_.pop_front();
      if (begun && --referenced_ == 0) napi_unref_threadsafe_function(env_, function_);
    }
    const Napi::Env environment(env);
    try {
      const Napi::HandleScope scope(environment);
      work(environment);
    } catch (const Napi::Error&) {
      // A promise cannot be settled any more: JavaScript is being terminated.
    }
  }
}

void Bridge::close() {
  std::vector<std::shared_ptr<Search>> running;
  {
    std::unique_lock lock(mutex_);
    closed_ = true;
    for (const auto& weak : searches_) {
      if (auto search = weak.lock()) running.push_back(std::move(search));
    }
  }
  for (const auto& search : running) search->cancel();
  {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return under_way_ == 0; });
    queue_.clear();
  }
  running.clear();
  napi_release_threadsafe_function(function_, napi_tsfn_abort);
}

Environment& Environment::of(Napi::Env env) {
  void* data = nullptr;
  if (napi_get_instance_data(env, &data) != napi_ok || data == nullptr) {
    throw Failure("CLOSED", "The JavaScript environment is shutting down.");
  }
  return *static_cast<Environment*>(data);
}

Napi::Error to_error(Napi::Env env, const Failure& failure) {
  Napi::Error error = Napi::Error::New(env, failure.what());
  error.Set("code", Napi::String::New(env, failure.code()));
  if (failure.index() >= 0) {
    Napi::Object details = Napi::Object::New(env);
    details.Set("index", Napi::Number::New(env, static_cast<double>(failure.index())));
    if (failure.element() >= 0) {
      details.Set("element", Napi::Number::New(env, static_cast<double>(failure.element())));
    }
    error.Set("details", details);
  } else if (!failure.file().empty()) {
    Napi::Object details = Napi::Object::New(env);
    details.Set("file", Napi::String::New(env, failure.file()));
    if (failure.offset() >= 0) {
      details.Set("offset", Napi::Number::New(env, static_cast<double>(failure.offset())));
    }
    if (failure.system() != 0) details.Set("errno", Napi::Number::New(env, failure.system()));
    error.Set("details", details);
  }
  return error;
}

Napi::Object object_arg(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsObject()) throw bad_argument(name, "an object");
  return info[index].As<Napi::Object>();
}

uint64_t integer_arg(const Napi::CallbackInfo& info, size_t index, const char* name, uint64_t most) {
  const double value = info[index].IsNumber() ? info[index].As<Napi::Number>().DoubleValue() : -1;
  if (!(value >= 0) || value != std::floor(value) || value > static_cast<double>(most)) {
    throw bad_argument(name, "a whole number in its range");
  }
  return static_cast<uint64_t>(value);
}

Napi::Float32Array floats_arg(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsTypedArray() ||
      info[index].As<Napi::TypedArray>().TypedArrayType() != napi_float32_array) {
    throw bad_argument(name, "a Float32Array");
  }
  return info[index].As<Napi::Float32Array>();
}

Napi::Float64Array doubles_arg(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsTypedArray() ||
      info[index].As<Napi::TypedArray>().TypedArrayType() != napi_float64_array) {
    throw bad_argument(name, "a Float64Array");
  }
  return info[index].As<Napi::Float64Array>();
}

std::vector<uint64_t> rows_of(const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float64_array) {
    throw bad_argument(name, "a Float64Array");
  }
  const auto array = value.As<Napi::Float64Array>();
  std::vector<uint64_t> rows(array.ElementLength());
  for (size_t i = 0; i < rows.size(); ++i) {
    const double row = array[i];
    if (!(row >= 0) || row != std::floor(row) || row >= static_cast<double>(kRowMax)) {
      throw bad_argument(name, "row numbers");
    }
    rows[i] = static_cast<uint64_t>(row);
  }
  return rows;
}

std::vector<uint64_t> rows_arg(const Napi::CallbackInfo& info, size_t index, const char* name) {
  return rows_of(info[index], name);
}

std::vector<uint32_t> integers_arg(const Napi::CallbackInfo& info, size_t index, const char* name) {
  const Napi::Value value = info[index];
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array) {
    throw bad_argument(name, "a Uint32Array");
  }
  const auto array = value.As<Napi::Uint32Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

}  // namespace hive::addon
