#define FP_ROW_OPS_NAMESPACE row_ops_avx2
#include "runner/cpu/row_ops_impl.h"
