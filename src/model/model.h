// A loaded model: the mapped file, its shape and its tensors.
#pragma once

#include <memory>
#include <string>

#include "core/error.h"
#include "model/config.h"
#include "model/gguf.h"
#include "model/weights.h"

namespace fieldprint {

struct Model {
  std::unique_ptr<GgufFile> file;
  ModelConfig config;
  ModelWeights weights;
  std::size_t weight_bytes = 0;  // all tensors
  std::string quantization;      // type of most weight bytes, e.g. "q4_1"
  std::int64_t parameters = 0;   // elements in all tensors
};

// Maps and checks; reads no weights yet. Errors: those of GgufFile::open,
// read_config and find_weights.
Result<std::shared_ptr<const Model>> load_model(const std::string& gguf_path);

// Sends the messages of ggml and libllama to our log instead of stderr. Called by
// everything here that uses them; cheap and idempotent.
void route_ggml_log();

}  // namespace fieldprint
