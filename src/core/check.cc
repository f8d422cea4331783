#include "core/check.h"

#include <cstdio>
#include <cstdlib>

namespace fieldprint {

void check_failed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "fieldprint: bug at %s:%d: check failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace fieldprint
