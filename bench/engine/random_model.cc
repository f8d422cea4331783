// Writes a GGUF file of a given shape with random weights and a made-up vocabulary, so that the
// speed of a model can be measured where its weights are not at hand.
//
// usage: random_model OUT [--shape llama-8b|llama-1b|small] [--type bf16|f16|f32|q8_0] [--layers N]
//
// The values are what they would be in scale: activations neither vanish nor overflow. They are
// drawn once, into a block that tensors start in at different places: drawing eight billion
// numbers would take longer than the measurement.
#include <ggml.h>
#include <gguf.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

namespace {

struct Shape {
  const char* name;
  std::uint32_t layers, hidden, heads, kv_heads, head_dim, ffn, vocab, context;
};
constexpr Shape kShapes[] = {
    {"llama-8b", 32, 4096, 32, 8, 128, 14336, 128256, 131072},
    {"llama-1b", 16, 2048, 32, 8, 64, 8192, 128256, 131072},
    {"small", 2, 256, 4, 2, 64, 512, 1024, 4096},
};

constexpr std::int64_t kBlockValues = std::int64_t{1} << 24;  // a multiple of every type's block

// Normal values in the wanted type; large enough that no two tensors look alike.
std::vector<char> random_block(ggml_type type) {
  std::mt19937 random(20261124);
  std::normal_distribution<float> normal(0.0F, 0.02F);
  std::vector<float> values(kBlockValues);
  for (float& value : values) value = normal(random);
  std::vector<char> block(ggml_row_size(type, kBlockValues));
  ggml_quantize_chunk(type, values.data(), block.data(), 0, 1, kBlockValues, nullptr);
  return block;
}

class Writer {
 public:
  Writer(const Shape& shape, ggml_type type) : shape_(shape), type_(type), out_(gguf_init_empty()) {
    shapes_ = ggml_init({ggml_tensor_overhead() * 4096, nullptr, /*no_alloc=*/true});
  }
  ~Writer() {
    gguf_free(out_);
    ggml_free(shapes_);
  }

  bool write(const std::string& path) {
    metadata();
    vocabulary();
    tensors();
    if (!gguf_write_to_file(out_, path.c_str(), /*only_meta=*/true)) return false;
    std::ofstream file(path, std::ios::binary | std::ios::app);
    const std::vector<char> block = random_block(type_);
    std::size_t start = 0;
    const std::size_t align = gguf_get_alignment(out_);
    for (const ggml_tensor* tensor : tensors_) {
      const std::size_t bytes = ggml_nbytes(tensor);
      if (ggml_n_dims(tensor) == 1) {
        const std::vector<float> ones(static_cast<std::size_t>(ggml_nelements(tensor)), 1.0F);
        file.write(reinterpret_cast<const char*>(ones.data()), static_cast<std::streamsize>(bytes));
      } else {
        const std::size_t row = ggml_row_size(type_, tensor->ne[0]);
        start = (start + 12289 * row) % (block.size() / 2) / row * row;
        for (std::size_t done = 0; done < bytes;) {
          const std::size_t part = std::min(bytes - done, block.size() - start);
          file.write(block.data() + start, static_cast<std::streamsize>(part));
          done += part;
          start = (start + part) % block.size();
        }
      }
      const std::string padding((align - bytes % align) % align, '\0');
      file.write(padding.data(), static_cast<std::streamsize>(padding.size()));
    }
    return file.good();
  }

 private:
  void number(const char* key, std::uint32_t value) {
    gguf_set_val_u32(out_, (std::string("llama.") + key).c_str(), value);
  }

  void metadata() {
    gguf_set_val_str(out_, "general.architecture", "llama");
    gguf_set_val_str(out_, "general.name", (std::string("random ") + shape_.name).c_str());
    number("block_count", shape_.layers);
    number("context_length", shape_.context);
    number("embedding_length", shape_.hidden);
    number("feed_forward_length", shape_.ffn);
    number("attention.head_count", shape_.heads);
    number("attention.head_count_kv", shape_.kv_heads);
    number("attention.key_length", shape_.head_dim);
    number("attention.value_length", shape_.head_dim);
    number("rope.dimension_count", shape_.head_dim);
    number("vocab_size", shape_.vocab);
    gguf_set_val_f32(out_, "llama.attention.layer_norm_rms_epsilon", 1e-5F);
    gguf_set_val_f32(out_, "llama.rope.freq_base", 500000.0F);
  }

  // A SentencePiece vocabulary: three control tokens, the 256 bytes, then words.
  void vocabulary() {
    std::vector<std::string> words{"<unk>", "<s>", "</s>"};
    std::vector<std::int32_t> types{2, 3, 3};
    for (int byte = 0; byte < 256; ++byte) {
      char name[8];
      std::snprintf(name, sizeof(name), "<0x%02X>", byte);
      words.emplace_back(name);
      types.push_back(6);
    }
    while (words.size() < shape_.vocab) {
      words.push_back("\xE2\x96\x81w" + std::to_string(words.size()));
      types.push_back(1);
    }
    std::vector<const char*> pointers;
    std::vector<float> scores;
    for (const std::string& word : words) {
      scores.push_back(-static_cast<float>(pointers.size()));
      pointers.push_back(word.c_str());
    }
    gguf_set_val_str(out_, "tokenizer.ggml.model", "llama");
    gguf_set_arr_str(out_, "tokenizer.ggml.tokens", pointers.data(), pointers.size());
    gguf_set_arr_data(out_, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, scores.data(),
                      scores.size());
    gguf_set_arr_data(out_, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, types.data(),
                      types.size());
    gguf_set_val_u32(out_, "tokenizer.ggml.unknown_token_id", 0);
    gguf_set_val_u32(out_, "tokenizer.ggml.bos_token_id", 1);
    gguf_set_val_u32(out_, "tokenizer.ggml.eos_token_id", 2);
  }

  void matrix(const std::string& name, std::int64_t columns, std::int64_t rows) {
    keep(ggml_new_tensor_2d(shapes_, type_, columns, rows), name);
  }
  void vector(const std::string& name, std::int64_t size) {
    keep(ggml_new_tensor_1d(shapes_, GGML_TYPE_F32, size), name);
  }
  void keep(ggml_tensor* tensor, const std::string& name) {
    ggml_set_name(tensor, name.c_str());
    gguf_add_tensor(out_, tensor);
    tensors_.push_back(tensor);
  }

  void tensors() {
    const std::int64_t h = shape_.hidden;
    const std::int64_t q = std::int64_t{shape_.heads} * shape_.head_dim;
    const std::int64_t kv = std::int64_t{shape_.kv_heads} * shape_.head_dim;
    matrix("token_embd.weight", h, shape_.vocab);
    for (std::uint32_t layer = 0; layer < shape_.layers; ++layer) {
      const std::string prefix = "blk." + std::to_string(layer) + ".";
      vector(prefix + "attn_norm.weight", h);
      matrix(prefix + "attn_q.weight", h, q);
      matrix(prefix + "attn_k.weight", h, kv);
      matrix(prefix + "attn_v.weight", h, kv);
      matrix(prefix + "attn_output.weight", q, h);
      vector(prefix + "ffn_norm.weight", h);
      matrix(prefix + "ffn_gate.weight", h, shape_.ffn);
      matrix(prefix + "ffn_up.weight", h, shape_.ffn);
      matrix(prefix + "ffn_down.weight", shape_.ffn, h);
    }
    vector("output_norm.weight", h);
    matrix("output.weight", h, shape_.vocab);
  }

  const Shape shape_;
  const ggml_type type_;
  gguf_context* out_;
  ggml_context* shapes_ = nullptr;
  std::vector<ggml_tensor*> tensors_;
};

int usage() {
  std::fprintf(stderr,
               "usage: random_model OUT [--shape llama-8b|llama-1b|small] "
               "[--type bf16|f16|f32|q8_0] [--layers N]\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc % 2 != 0) return usage();
  Shape shape = kShapes[0];
  ggml_type type = GGML_TYPE_BF16;
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    const std::string value = argv[i + 1];
    bool known = false;
    if (flag == "--shape") {
      for (const Shape& one : kShapes) {
        if (value != one.name) continue;
        shape = one;
        known = true;
      }
    } else if (flag == "--type") {
      for (const ggml_type one : {GGML_TYPE_BF16, GGML_TYPE_F16, GGML_TYPE_F32, GGML_TYPE_Q8_0}) {
        if (value != ggml_type_name(one)) continue;
        type = one;
        known = true;
      }
    } else if (flag == "--layers") {
      shape.layers = static_cast<std::uint32_t>(std::stoul(value));
      known = shape.layers > 0 && shape.layers <= 128;
    }
    if (!known) return usage();
  }
  if (!Writer(shape, type).write(argv[1])) {
    std::fprintf(stderr, "random_model: cannot write %s\n", argv[1]);
    return 1;
  }
  return 0;
}
