// Finds the model file and knows its digest.
#pragma once

#include <string>

#include "app/config/settings.h"

namespace fieldprint::app {

inline constexpr const char* kDefaultModel = "SmolLM2-135M-Instruct.Q4_1.gguf";

// --model, else the default model in the first models folder that has it. The file is not
// opened. Errors: model_missing (without --model and without the default model).
Result<std::string> choose_model(const Settings& settings);

enum class DigestTrust : std::uint8_t {
  kCached,  // take the cached digest if path, size, inode and modification time are unchanged
  kHash,    // hash the file again
};

// "sha256:<hex>" of a model file. A digest that had to be computed is cached in
// <cache_dir>/digests.json; a cache that cannot be read or written is logged and does no
// harm. Errors: those of sha256_file, model_missing.
Result<std::string> model_digest(const std::string& path, const std::string& cache_dir,
                                 DigestTrust trust);

}  // namespace fieldprint::app
