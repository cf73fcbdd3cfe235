// One JavaScript environment (the main thread or a worker): its classes, the way back from other
// threads, and what has to stop before the environment goes.
#pragma once

#include <napi.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>

#include "failure.h"
#include "search.h"

namespace hive::addon {

// The bridge from engine threads to one environment's JavaScript thread. Outlives the environment
// as long as a task holds it; after close() completions are dropped.
class Bridge : public std::enable_shared_from_this<Bridge> {
 public:
  static std::shared_ptr<Bridge> create(napi_env env);

  // JavaScript thread: something is under way that will post once.
  void begin();
  // Any thread: runs work on the JavaScript thread, if it still exists, and ends one begin().
  void post(std::function<void(Napi::Env)> work);
  // Any thread: like post, for work that no begin() announced; dropped when nothing else runs.
  void post_extra(std::function<void(Napi::Env)> work);
  void add_search(const std::shared_ptr<Search>& search);
  // JavaScript thread, at the environment's end: cancels searches, waits for all that began.
  void close();

 private:
  static void drain(napi_env env, napi_value callback, void* context, void* data);
  void run_queue(napi_env env);

  napi_env env_ = nullptr;
  napi_threadsafe_function function_ = nullptr;
  std::mutex mutex_;
  std::condition_variable idle_;
  struct Item {
    std::function<void(Napi::Env)> work;
    bool begun;
  };
  std::deque<Item> queue_;
  std::set<std::weak_ptr<Search>, std::owner_less<std::weak_ptr<Search>>> searches_;
  size_t under_way_ = 0;  // begun and not yet posted
  size_t referenced_ = 0; // begun and not yet handled on the JavaScript thread
  bool closed_ = false;
};

struct Environment {
  std::shared_ptr<Bridge> bridge;
  Napi::FunctionReference device;
  Napi::FunctionReference collection;
  Napi::FunctionReference batch;
  Napi::FunctionReference snapshot;
  Napi::FunctionReference log;
  Napi::FunctionReference log_batch;
  Napi::FunctionReference selection;

  static Environment& of(Napi::Env env);
};

// The JavaScript error for a failure: message, code, details.
Napi::Error to_error(Napi::Env env, const Failure& failure);

// Runs body; whatever C++ throws becomes a JavaScript exception.
template <class Body>
auto guarded(Napi::Env env, Body body) -> decltype(body()) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (const Failure& failure) {
    throw to_error(env, failure);
  } catch (const std::bad_alloc&) {
    throw to_error(env, Failure("OUT_OF_MEMORY", "The host is out of memory."));
  } catch (const std::exception& e) {
    throw to_error(env, Failure("INTERNAL", e.what()));
  }
}

// ---- checked conversions; each throws INVALID_ARGUMENT with the argument's name

Napi::Object object_arg(const Napi::CallbackInfo& info, size_t index, const char* name);
// A whole number in [0, most].
uint64_t integer_arg(const Napi::CallbackInfo& info, size_t index, const char* name, uint64_t most);
Napi::Float32Array floats_arg(const Napi::CallbackInfo& info, size_t index, const char* name);
Napi::Float64Array doubles_arg(const Napi::CallbackInfo& info, size_t index, const char* name);
std::vector<uint64_t> rows_arg(const Napi::CallbackInfo& info, size_t index, const char* name);
std::vector<uint64_t> rows_of(const Napi::Value& value, const char* name);
std::vector<uint32_t> integers_arg(const Napi::CallbackInfo& info, size_t index, const char* name);

}  // namespace hive::addon
