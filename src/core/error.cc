#include "core/error.h"

#include "core/check.h"

namespace fieldprint {

int exit_code(const Error& error) {
  switch (error.kind) {
    case ErrorKind::kInvalid:
    case ErrorKind::kNotFound:
    case ErrorKind::kTooLarge:
    case ErrorKind::kUnauthorized:
    case ErrorKind::kForbidden:
    case ErrorKind::kUnsupported:
    case ErrorKind::kCorrupt:
      return 2;
    case ErrorKind::kCancelled:
      return 130;
    case ErrorKind::kUnavailable:
    case ErrorKind::kExhausted:
    case ErrorKind::kIo:
    case ErrorKind::kInternal:
      return 1;
  }
  FP_UNREACHABLE();
}

int http_status(const Error& error) {
  switch (error.kind) {
    case ErrorKind::kInvalid:
    case ErrorKind::kUnsupported:
      return 400;
    case ErrorKind::kUnauthorized:
      return 401;
    case ErrorKind::kForbidden:
      return 403;
    case ErrorKind::kNotFound:
      return 404;
    case ErrorKind::kCancelled:
      return 408;
    case ErrorKind::kTooLarge:
      return 413;
    case ErrorKind::kUnavailable:
    case ErrorKind::kExhausted:
      return 503;
    case ErrorKind::kCorrupt:
    case ErrorKind::kIo:
    case ErrorKind::kInternal:
      return 500;
  }
  FP_UNREACHABLE();
}

}  // namespace fieldprint
