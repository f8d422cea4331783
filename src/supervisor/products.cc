#include "supervisor/products.h"

#include "attention/cpu/isa.h"
#include "supervisor/products_loops.h"

namespace fieldprint {

#ifdef FIELDPRINT_PRODUCTS_AVX2
extern const Products kProductsAvx2;  // products_avx2.cc

std::span<const Products* const> all_products() {
  static constexpr const Products* kAll[] = {&kLoops, &kProductsAvx2};
  return {kAll, cpu_isa_available(CpuIsa::kAvx2) ? std::size_t{2} : std::size_t{1}};
}
#else
std::span<const Products* const> all_products() {
  static constexpr const Products* kAll[] = {&kLoops};
  return kAll;
}
#endif

const Products& products() {
  static const Products& best = *all_products().back();
  return best;
}

}  // namespace fieldprint
