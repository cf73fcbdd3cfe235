// What every entry of the C ABI needs: errors without exceptions, structs of any size.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "hive_backend.h"

namespace hive::cuda {

// A failed step; becomes a status and a sentence at the boundary.
class Fault : public std::exception {
 public:
  Fault(hive_status status, std::string message) : status_(status), message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }
  hive_status status() const { return status_; }

 private:
  hive_status status_;
  std::string message_;
};

inline hive_status fail(hive_error* err, hive_status status, const std::string& message) noexcept {
  if (err != nullptr && err->struct_size > offsetof(hive_error, message)) {
    const size_t room = err->struct_size - offsetof(hive_error, message);
    std::snprintf(err->message, std::min(room, sizeof err->message), "%s", message.c_str());
  }
  return status;
}

// Runs body; no exception leaves the C ABI.
template <class Body>
hive_status guarded(hive_error* err, Body body) noexcept {
  try {
    return body();
  } catch (const Fault& fault) {
    return fail(err, fault.status(), fault.what());
  } catch (const std::bad_alloc&) {
    return fail(err, HIVE_OUT_OF_MEMORY, "The host is out of memory.");
  } catch (const std::exception& e) {
    return fail(err, HIVE_INTERNAL, e.what());
  } catch (...) {
    return fail(err, HIVE_INTERNAL, "An unknown exception reached the CUDA backend.");
  }
}

// Copies as much of a filled struct as the caller has room for.
template <class T>
hive_status give(const T& filled, T* out, hive_error* err) {
  if (out == nullptr || out->struct_size < sizeof(uint32_t)) {
    return fail(err, HIVE_INVALID_ARGUMENT, "The output struct is missing or has no size.");
  }
  const uint32_t size = out->struct_size;
  std::memcpy(out, &filled, std::min<size_t>(size, sizeof(T)));
  out->struct_size = size;
  return HIVE_OK;
}

}  // namespace hive::cuda
