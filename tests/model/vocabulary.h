// GGUF files that hold nothing but a vocabulary.
#pragma once

#include <gguf.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/tokenizer.h"

namespace fieldprint::test {

// Made by `make test`; a test that needs it fails without, rather than pass.
inline std::string smollm2_path() {
  const char* folder = std::getenv("FIELDPRINT_MODELS_DIR");
  return std::string(folder != nullptr ? folder : "models") + "/SmolLM2-135M-Instruct.Q4_1.gguf";
}

// A SentencePiece vocabulary as Llama 2 has it, with eleven pieces: text gets a space in front.
// The space is written U+2581 in pieces.
inline std::string write_sentencepiece_vocabulary() {
  enum Type : std::int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6 };
  std::vector<std::string> pieces = {"<unk>", "<s>", "</s>"};
  std::vector<std::int32_t> types = {kUnknown, kControl, kControl};
  for (int byte = 0; byte < 256; ++byte) {
    std::array<char, 8> name{};
    std::snprintf(name.data(), name.size(), "<0x%02X>", byte);
    pieces.emplace_back(name.data());
    types.push_back(kByte);
  }
  for (const char* piece : {"\u2581", "a", "b", "[", "]", "ab", "\u2581a", "\u2581ab"}) {
    pieces.emplace_back(piece);
    types.push_back(kNormal);
  }
  std::vector<float> scores;
  for (const std::string& piece : pieces) scores.push_back(static_cast<float>(piece.size()));
  std::vector<const char*> names;
  for (const std::string& piece : pieces) names.push_back(piece.c_str());

  gguf_context* out = gguf_init_empty();
  gguf_set_val_str(out, "general.architecture", "llama");
  gguf_set_val_str(out, "tokenizer.ggml.model", "llama");
  gguf_set_val_str(out, "tokenizer.ggml.pre", "default");
  gguf_set_arr_str(out, "tokenizer.ggml.tokens", names.data(), names.size());
  gguf_set_arr_data(out, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, scores.data(), scores.size());
  gguf_set_arr_data(out, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, types.data(), types.size());
  gguf_set_val_u32(out, "tokenizer.ggml.unknown_token_id", 0);
  gguf_set_val_u32(out, "tokenizer.ggml.bos_token_id", 1);
  gguf_set_val_u32(out, "tokenizer.ggml.eos_token_id", 2);
  gguf_set_val_bool(out, "tokenizer.ggml.add_bos_token", true);
  gguf_set_val_bool(out, "tokenizer.ggml.add_space_prefix", true);
  const std::string path = testing::TempDir() + "sentencepiece_vocabulary.gguf";
  EXPECT_TRUE(gguf_write_to_file(out, path.c_str(), false));
  gguf_free(out);
  return path;
}

inline std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path) {
  auto tokenizer = Tokenizer::load(path);
  EXPECT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  return tokenizer ? std::move(*tokenizer) : nullptr;
}

}  // namespace fieldprint::test
