#include "runner/cuda/products.h"

#include <map>
#include <string>
#include <tuple>

#include "runner/cuda/cublas.h"
#include "runner/cuda/memory.h"

namespace fieldprint::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{64} << 20;

cudaDataType_t type_of(ProductOutput output) {
  return output == ProductOutput::kBf16 ? CUDA_R_16BF : CUDA_R_32F;
}

// What one product needs besides its pointers.
class Recipe {
 public:
  explicit Recipe(const CublasLt& lt) : lt_(lt) {}
  ~Recipe() {
    if (desc != nullptr) lt_.desc_destroy(desc);
    for (cublasLtMatrixLayout_t layout : {weight, x, y}) {
      if (layout != nullptr) lt_.layout_destroy(layout);
    }
  }
  Recipe(const Recipe&) = delete;
  Recipe& operator=(const Recipe&) = delete;

  // cuBLAS counts columns first: y^T [n][rows] = W^T x^T, all with their rows as columns.
  Status make(const Matrix& matrix, int rows, ProductOutput output) {
    const auto depth = static_cast<std::uint64_t>(matrix.columns);
    const auto n = static_cast<std::uint64_t>(matrix.rows);
    const auto m = static_cast<std::uint64_t>(rows);
    const cublasOperation_t transposed = CUBLAS_OP_T;
    const char* doing = "describing a product";
    FP_TRY(check_cublas(lt_.desc_create(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), doing));
    FP_TRY(check_cublas(
        lt_.desc_set(desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed)), doing));
    FP_TRY(check_cublas(lt_.layout_create(&weight, CUDA_R_16BF, depth, n, matrix.columns), doing));
    FP_TRY(check_cublas(lt_.layout_create(&x, CUDA_R_16BF, depth, m, matrix.columns), doing));
    return check_cublas(lt_.layout_create(&y, type_of(output), n, m, matrix.rows), doing);
  }

  cublasLtMatmulDesc_t desc = nullptr;
  cublasLtMatrixLayout_t weight = nullptr;
  cublasLtMatrixLayout_t x = nullptr;
  cublasLtMatrixLayout_t y = nullptr;
  cublasLtMatmulAlgo_t algorithm{};

 private:
  const CublasLt& lt_;
};

class FastProducts final : public Products {
 public:
  explicit FastProducts(const CublasLt& lt) : lt_(lt) {}
  ~FastProducts() override {
    recipes_.clear();
    if (handle_ != nullptr) lt_.destroy(handle_);
  }

  Status init() {
    FP_TRY(check_cublas(lt_.create(&handle_), "starting cuBLASLt"));
    FP_ASSIGN(workspace_, DeviceBuffer::allocate(kWorkspaceBytes, "cuBLASLt's workspace"));
    name_ = "skinny-1-cublaslt-" + std::to_string(lt_.version());
    return {};
  }

  Status run(const Matrix& weight, const void* x, int rows, void* y, ProductOutput output,
             void* stream) override {
    if (skinny_fits(rows, weight.rows, weight.columns)) {
      skinny_product({weight.data, x, y, rows, weight.rows, weight.columns}, output, stream);
      return {};
    }
    FP_ASSIGN(const Recipe* recipe, recipe_for(weight, padded_rows(rows), output));
    const float one = 1.0F;
    const float kept = output == ProductOutput::kAddF32 ? 1.0F : 0.0F;
    return check_cublas(
        lt_.matmul(handle_, recipe->desc, &one, weight.data, recipe->weight, x, recipe->x, &kept, y,
                   recipe->y, y, recipe->y, &recipe->algorithm, workspace_.data(),
                   workspace_.size(), static_cast<cudaStream_t>(stream)),
        "a product");
  }

  Status gated(const Matrix& gate_up, const void* x, int rows, void* scratch, void* gated,
               GateKind kind, void* stream) override {
    if (skinny_fits(rows, gate_up.rows, gate_up.columns)) {
      skinny_gated({gate_up.data, x, gated, rows, gate_up.rows, gate_up.columns}, kind, stream);
      return {};
    }
    return Products::gated(gate_up, x, rows, scratch, gated, kind, stream);
  }

  const char* name() const override { return name_.c_str(); }

 private:
  using Key = std::tuple<std::int32_t, std::int32_t, int, ProductOutput>;

  Result<const Recipe*> recipe_for(const Matrix& weight, int rows, ProductOutput output) {
    auto& recipe = recipes_[Key{weight.rows, weight.columns, rows, output}];
    if (recipe) return recipe.get();
    auto made = std::make_unique<Recipe>(lt_);
    FP_TRY(made->make(weight, rows, output));
    FP_TRY(choose_algorithm(*made));
    recipe = std::move(made);
    return recipe.get();
  }

  Status choose_algorithm(Recipe& recipe) {
    cublasLtMatmulPreference_t preference = nullptr;
    FP_TRY(check_cublas(lt_.preference_create(&preference), "choosing an algorithm"));
    const std::size_t bytes = kWorkspaceBytes;
    lt_.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof(bytes));
    cublasLtMatmulHeuristicResult_t result{};
    int found = 0;
    const cublasStatus_t status = lt_.heuristic(handle_, recipe.desc, recipe.weight, recipe.x,
                                                recipe.y, recipe.y, preference, 1, &result, &found);
    lt_.preference_destroy(preference);
    FP_TRY(
        check_cublas(found == 0 ? CUBLAS_STATUS_NOT_SUPPORTED : status, "choosing an algorithm"));
    recipe.algorithm = result.algo;
    return {};
  }

  const CublasLt& lt_;
  cublasLtHandle_t handle_ = nullptr;
  DeviceBuffer workspace_;
  std::string name_;
  std::map<Key, std::unique_ptr<Recipe>> recipes_;
};

class InvariantProducts final : public Products {
 public:
  Status run(const Matrix& weight, const void* x, int rows, void* y, ProductOutput output,
             void* stream) override {
    product({weight.data, x, y, rows, weight.rows, weight.columns}, output, stream);
    return {};
  }
  const char* name() const override { return "products-mma16816-1"; }
};

}  // namespace

// Few row counts, so that few algorithms are chosen and few CUDA graphs made.
int Products::padded_rows(int rows) {
  const auto up = [rows](int step) { return (rows + step - 1) / step * step; };
  if (rows <= 8) return rows;
  if (rows <= 64) return up(8);
  if (rows <= 256) return up(32);
  return up(128);
}

Status Products::gated(const Matrix& gate_up, const void* x, int rows, void* scratch, void* gated,
                       GateKind kind, void* stream) {
  FP_TRY(run(gate_up, x, rows, scratch, ProductOutput::kBf16, stream));
  const auto elements = static_cast<std::size_t>(rows) * static_cast<std::size_t>(gate_up.rows / 2);
  gate({scratch, gated, elements}, kind, stream);
  return {};
}

Result<std::unique_ptr<Products>> make_products(NumericProfile profile) {
  if (profile == NumericProfile::kInvariant) return std::make_unique<InvariantProducts>();
  FP_ASSIGN(const CublasLt* lt, cublas_lt());
  auto made = std::make_unique<FastProducts>(*lt);
  FP_TRY(made->init());
  return made;
}

}  // namespace fieldprint::cuda
