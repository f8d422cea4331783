#include "runner/cpu/row_ops.h"

namespace fieldprint {

namespace row_ops_avx512 {
extern const RowOps kOps;
}
namespace row_ops_avx2 {
extern const RowOps kOps;
}
namespace row_ops_base {
extern const RowOps kOps;
}

const RowOps& row_ops() {
  static const RowOps& chosen = [&]() -> const RowOps& {
    __builtin_cpu_init();
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
    if (avx512) return row_ops_avx512::kOps;
    if (__builtin_cpu_supports("avx2")) return row_ops_avx2::kOps;
    return row_ops_base::kOps;
  }();
  return chosen;
}

}  // namespace fieldprint
