#include "model/model.h"

#include <ggml.h>
#include <llama.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>

namespace fieldprint {
namespace {

// ggml's chatter says nothing that our own errors and banner do not; keep it for
// debugging only. (FIELDPRINT_DEBUG_GGML=1 shows it.)
void ggml_log(ggml_log_level /*level*/, const char* text, void* /*user*/) {
  static const bool wanted = std::getenv("FIELDPRINT_DEBUG_GGML") != nullptr;
  if (wanted) std::fputs(text, stderr);
}

}  // namespace

void route_ggml_log() {
  static std::once_flag once;
  std::call_once(once, [] {
    ggml_log_set(ggml_log, nullptr);
    llama_log_set(ggml_log, nullptr);
  });
}

Result<std::shared_ptr<const Model>> load_model(const std::string& gguf_path) {
  route_ggml_log();
  auto model = std::make_shared<Model>();
  FP_ASSIGN(model->file, GgufFile::open(gguf_path));
  FP_ASSIGN(model->config, read_config(*model->file));
  FP_ASSIGN(model->weights, find_weights(*model->file, model->config));
  std::map<int, std::size_t> bytes_by_type;
  for (const GgufTensor& tensor : model->file->tensors()) {
    model->weight_bytes += tensor.bytes;
    model->parameters += tensor.shape[0] * tensor.shape[1] * tensor.shape[2] * tensor.shape[3];
    bytes_by_type[tensor.ggml_type] += tensor.bytes;
  }
  std::size_t most = 0;
  for (const auto& [type, bytes] : bytes_by_type) {
    if (bytes <= most) continue;
    most = bytes;
    model->quantization = ggml_type_name(static_cast<ggml_type>(type));
  }
  return std::shared_ptr<const Model>(std::move(model));
}

}  // namespace fieldprint
