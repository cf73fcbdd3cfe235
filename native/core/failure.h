// How native/core reports a failure: one exception type, caught at the addon's boundary and at the
// end of every task. code is HIVE_ plus a name of hive_status.def or one of core's own
// (NON_FINITE, NORM_TOO_LARGE, DTYPE_OVERFLOW, DETACHED, CLOSED; for files IO, NO_SPACE, CORRUPT,
// LOCKED, FORMAT).
#pragma once

#include <cstdint>
#include <exception>
#include <string>

#include "hive_backend.h"

namespace hive {

class Failure : public std::exception {
 public:
  Failure(std::string code, std::string message, int64_t index = -1, int64_t element = -1)
      : code_("HIVE_" + std::move(code)),
        message_(std::move(message)),
        index_(index),
        element_(element) {}

  const char* what() const noexcept override { return message_.c_str(); }
  const std::string& code() const { return code_; }
  int64_t index() const { return index_; }      // offending vector; -1 = none
  int64_t element() const { return element_; }  // offending element in it; -1 = none

  // For the durable store: the file, the byte in it (-1 = none), the system's errno (0 = none).
  Failure& in_file(std::string file, int64_t offset, int system = 0) {
    file_ = std::move(file);
    offset_ = offset;
    system_ = system;
    return *this;
  }
  const std::string& file() const { return file_; }
  int64_t offset() const { return offset_; }
  int system() const { return system_; }

 private:
  std::string code_;
  std::string message_;
  int64_t index_;
  int64_t element_;
  std::string file_;
  int64_t offset_ = -1;
  int system_ = 0;
};

// Name of a status without the prefix.
const char* status_name(hive_status status);

// The failure for a status that a backend returned.
Failure backend_failure(hive_status status, const hive_error& error);

inline hive_error new_error() {
  hive_error error{};
  error.struct_size = sizeof error;
  return error;
}

}  // namespace hive
