// Work on engine threads whose result settles a promise.
#pragma once

#include "environment.h"
#include "workers.h"

namespace hive::addon {

// Runs work on a thread of `workers`, then settle(env, its result) on the JavaScript thread.
template <class Work, class Settle>
Napi::Value on_worker(Napi::Env env, Workers& workers, Work work, Settle settle) {
  const std::shared_ptr<Bridge> bridge = Environment::of(env).bridge;
  const auto deferred = Napi::Promise::Deferred::New(env);
  bridge->begin();
  workers.run([bridge, deferred, work, settle] {
    const auto reject = [&](const Failure& failure) {
      bridge->post([deferred, failure](Napi::Env e) {
        deferred.Reject(to_error(e, failure).Value());
      });
    };
    try {
      auto result = std::make_shared<decltype(work())>(work());
      bridge->post([deferred, settle, result](Napi::Env e) {
        deferred.Resolve(settle(e, std::move(*result)));
      });
    } catch (const Failure& failure) {
      reject(failure);
    } catch (const std::bad_alloc&) {
      reject(Failure("OUT_OF_MEMORY", "The host is out of memory."));
    } catch (const std::exception& error) {
      reject(Failure("INTERNAL", error.what()));
    }
  });
  return deferred.Promise();
}

}  // namespace hive::addon
