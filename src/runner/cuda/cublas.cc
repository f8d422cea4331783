#include "runner/cuda/cublas.h"

#include <dlfcn.h>

#include <string>

namespace fieldprint::cuda {
namespace {

#define FP_STRING_INNER(x) #x
#define FP_STRING(x) FP_STRING_INNER(x)
constexpr const char* kLibrary = "libcublasLt.so." FP_STRING(CUBLAS_VER_MAJOR);

struct Loaded {
  CublasLt functions;
  std::string problem;  // empty: all were found
};

template <typename Function>
void find(void* library, const char* name, Function& function, std::string& problem) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr && problem.empty()) problem = std::string("it lacks ") + name;
}

Loaded load() {
  Loaded loaded;
  void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) library = dlopen(FIELDPRINT_CUDA_LIBRARIES "/libcublasLt.so", RTLD_NOW);
  if (library == nullptr) {
    loaded.problem = dlerror();
    return loaded;
  }
  CublasLt& f = loaded.functions;
  find(library, "cublasLtCreate", f.create, loaded.problem);
  find(library, "cublasLtDestroy", f.destroy, loaded.problem);
  find(library, "cublasLtGetVersion", f.version, loaded.problem);
  find(library, "cublasLtMatmul", f.matmul, loaded.problem);
  find(library, "cublasLtMatmulDescCreate", f.desc_create, loaded.problem);
  find(library, "cublasLtMatmulDescDestroy", f.desc_destroy, loaded.problem);
  find(library, "cublasLtMatmulDescSetAttribute", f.desc_set, loaded.problem);
  find(library, "cublasLtMatrixLayoutCreate", f.layout_create, loaded.problem);
  find(library, "cublasLtMatrixLayoutDestroy", f.layout_destroy, loaded.problem);
  find(library, "cublasLtMatmulPreferenceCreate", f.preference_create, loaded.problem);
  find(library, "cublasLtMatmulPreferenceDestroy", f.preference_destroy, loaded.problem);
  find(library, "cublasLtMatmulPreferenceSetAttribute", f.preference_set, loaded.problem);
  find(library, "cublasLtMatmulAlgoGetHeuristic", f.heuristic, loaded.problem);
  return loaded;
}

}  // namespace

Result<const CublasLt*> cublas_lt() {
  static const Loaded loaded = load();
  if (loaded.problem.empty()) return &loaded.functions;
  return fail(ErrorKind::kUnsupported, "cublas_missing",
              std::string(kLibrary) + " cannot be used: " + loaded.problem +
                  "; install CUDA's runtime libraries, name their folder in LD_LIBRARY_PATH, or "
                  "use --device cpu");
}

Status check_cublas(cublasStatus_t status, const char* doing) {
  if (status == CUBLAS_STATUS_SUCCESS) return {};
  return fail(ErrorKind::kInternal, "cuda_error",
              std::string(doing) + " failed: cuBLASLt returned " +
                  std::to_string(static_cast<int>(status)));
}

}  // namespace fieldprint::cuda
