// Status and Result<T>: how a function says that the world refused.
//
// A Status is for what the world may do (no space, no such job, a bad file). What only a bug can do
// is a CHECK. The code says whose move it is; the error number (errors.h) is what users see and
// look up; the message is for a person: where, what, the value, the limit, what to do. Never a
// secret.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "engine/base/check.h"

namespace millrace {

enum class Code : uint8_t {
  kOk,
  kInvalid,      // the caller must change the request
  kNotFound,     // no such thing
  kConflict,     // the state forbids it
  kBusy,         // we shed load; the same request may succeed later
  kUnavailable,  // a dependency failed; a retry is safe
  kCorrupt,      // stored data is damaged; somebody is paged
};

// A stable name such as "invalid", for logs. [any]
const char* code_name(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;  // ok
  // `number` is one of errors.h (17 stands for E017), 0 where no user will see it.
  Status(Code code, int number, std::string message)
      : code_(code), number_(static_cast<uint16_t>(number)), message_(std::move(message)) {
    CHECK(code != Code::kOk);
  }

  static Status invalid(int number, std::string m) {
    return {Code::kInvalid, number, std::move(m)};
  }
  static Status not_found(int number, std::string m) {
    return {Code::kNotFound, number, std::move(m)};
  }
  static Status conflict(int number, std::string m) {
    return {Code::kConflict, number, std::move(m)};
  }
  static Status busy(int number, std::string m) { return {Code::kBusy, number, std::move(m)}; }
  static Status unavailable(int number, std::string m) {
    return {Code::kUnavailable, number, std::move(m)};
  }
  static Status corrupt(int number, std::string m) {
    return {Code::kCorrupt, number, std::move(m)};
  }

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  // The same request may succeed later: nothing is wrong with it, and nothing is lost.
  bool transient() const { return code_ == Code::kBusy || code_ == Code::kUnavailable; }
  int number() const { return number_; }
  const std::string& message() const { return message_; }

 private:
  Code code_ = Code::kOk;
  uint16_t number_ = 0;
  std::string message_;
};

// Either a T or the Status that says why not. Reading the value of a failed Result is a bug.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value)
      : value_(std::move(value)) {}  // NOLINT: implicit on purpose, so that `return value;` works
  Result(Status status) : status_(std::move(status)) { CHECK(!status_.ok()); }  // NOLINT: as above

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& value() & {
    CHECK(ok());
    return *value_;
  }
  const T& value() const& {
    CHECK(ok());
    return *value_;
  }
  T&& value() && {
    CHECK(ok());
    return std::move(*value_);
  }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace millrace

// Returns the status of `expression` from the enclosing function unless it is ok.
#define RETURN_IF_ERROR(expression)                                 \
  do {                                                              \
    if (auto status_ = (expression); !status_.ok()) return status_; \
  } while (0)
