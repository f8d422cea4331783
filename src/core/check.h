// FP_CHECK: always-on assertion for bugs. Never reachable from outside input.
#pragma once

namespace fieldprint {
[[noreturn]] void check_failed(const char* file, int line, const char* condition);
}  // namespace fieldprint

#define FP_CHECK(condition)                                       \
  do {                                                            \
    if (!(condition)) [[unlikely]]                                \
      ::fieldprint::check_failed(__FILE__, __LINE__, #condition); \
  } while (false)
#define FP_UNREACHABLE() ::fieldprint::check_failed(__FILE__, __LINE__, "unreachable")
