// Compiled with -mavx2; called only where the machine has it.
#include "supervisor/products_loops.h"

namespace fieldprint {

extern const Products kProductsAvx2;
const Products kProductsAvx2 = kLoops;

}  // namespace fieldprint
