// Errors that the outside world can cause. Bugs use FP_CHECK (core/check.h).
//
// Contract: a function that can fail because of input, files, memory limits or
// peers returns Result<T>. The message names the thing and the remedy, in one
// line. `code` is stable: clients and tests match on it, never on the message.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace fieldprint {

// What kind of failure it is; decides the HTTP status and the exit code.
enum class ErrorKind {
  kInvalid,       // the caller's input is wrong: HTTP 400, exit 2
  kNotFound,      // no such model, anchor, file: HTTP 404, exit 2
  kTooLarge,      // over a stated limit: HTTP 413, exit 2
  kUnauthorized,  // missing or wrong credential: HTTP 401, exit 2
  kForbidden,     // policy refuses: HTTP 403, exit 2
  kUnsupported,   // well formed, but this build or model cannot do it: HTTP 400, exit 2
  kCorrupt,       // data fails its own checks: HTTP 500, exit 2
  kUnavailable,   // overloaded, loading, draining: HTTP 503 with Retry-After, exit 1
  kExhausted,     // memory, KV pages, disk: HTTP 503, exit 1
  kCancelled,     // the caller left or the deadline passed: HTTP 408, exit 130
  kIo,            // the operating system said no: HTTP 500, exit 1
  kInternal,      // our fault, reported instead of crashing: HTTP 500, exit 1
};

struct Error {
  ErrorKind kind = ErrorKind::kInternal;
  std::string code;     // stable snake_case id, e.g. "gguf_truncated"
  std::string message;  // one line: what, where, what to do
  std::string param;    // the request field or flag at fault; empty if none
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

[[nodiscard]] inline tl::unexpected<Error> fail(ErrorKind kind, std::string_view code,
                                                std::string message, std::string param = {}) {
  return tl::unexpected<Error>(
      Error{kind, std::string(code), std::move(message), std::move(param)});
}

// Process exit code for an error that ends a command.
int exit_code(const Error& error);

// HTTP status for an error that ends a request.
int http_status(const Error& error);

}  // namespace fieldprint

// Returns the error of `expr` (a Result) from the enclosing function.
#define FP_TRY_CONCAT_INNER(a, b) a##b
#define FP_TRY_CONCAT(a, b) FP_TRY_CONCAT_INNER(a, b)
#define FP_TRY(expr)                                                             \
  do {                                                                           \
    auto fp_try_status = (expr);                                                 \
    if (!fp_try_status) return tl::unexpected(std::move(fp_try_status.error())); \
  } while (false)
// Declares `decl` with the value of `expr` (a Result), or returns its error.
#define FP_ASSIGN(decl, expr)                                                      \
  auto FP_TRY_CONCAT(fp_result_, __LINE__) = (expr);                               \
  if (!FP_TRY_CONCAT(fp_result_, __LINE__))                                        \
    return tl::unexpected(std::move(FP_TRY_CONCAT(fp_result_, __LINE__).error())); \
  decl = std::move(*FP_TRY_CONCAT(fp_result_, __LINE__))
