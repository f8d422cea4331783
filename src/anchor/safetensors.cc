#include "anchor/safetensors.h"

#include <algorithm>
#include <limits>
#include <string_view>

#include "codec/canonical_json.h"
#include "core/check.h"

namespace fieldprint {
namespace {

constexpr std::size_t kLengthBytes = 8;

tl::unexpected<Error> invalid(std::string what) {
  return fail(ErrorKind::kCorrupt, "safetensors_invalid", "safetensors: " + std::move(what));
}

std::uint64_t read_u64(std::span<const std::uint8_t> bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) value |= std::uint64_t{bytes[i]} << (8 * i);
  return value;
}

Result<TensorType> type_of(const std::string& name, const std::string& dtype) {
  for (const TensorType type : {TensorType::kBf16, TensorType::kF32}) {
    if (dtype == tensor_type_name(type)) return type;
  }
  return fail(
      ErrorKind::kUnsupported, "safetensors_unsupported",
      "safetensors: tensor '" + name + "' has dtype '" + dtype + "', only BF16 and F32 are read");
}

// Bytes of a tensor, or an error where the shape's product does not fit 63 bits.
Result<std::uint64_t> byte_size(const TensorInfo& tensor) {
  std::uint64_t size = tensor_type_size(tensor.type);
  for (const std::int64_t dim : tensor.shape) {
    const auto factor = static_cast<std::uint64_t>(dim);
    if (factor != 0 && size > std::uint64_t{std::numeric_limits<std::int64_t>::max()} / factor) {
      return invalid("the shape of tensor '" + tensor.name + "' overflows");
    }
    size *= factor;
  }
  return size;
}

Result<TensorInfo> read_tensor(const std::string& name, const CanonicalValue& value) {
  TensorInfo tensor;
  tensor.name = name;
  FieldReader fields(value, name);
  const std::string dtype = fields.string("dtype", 16);
  const CanonicalValue::Array& shape = fields.array("shape", kSafetensorsMaxRank);
  const CanonicalValue::Array& offsets = fields.array("data_offsets", 2);
  if (const Status read = fields.finish(); !read) return invalid(read.error().message);
  FP_ASSIGN(tensor.type, type_of(name, dtype));
  for (const CanonicalValue& dim : shape) {
    if (dim.integer() == nullptr || *dim.integer() < 0) {
      return invalid("the shape of tensor '" + name + "' is not a list of sizes");
    }
    tensor.shape.push_back(*dim.integer());
  }
  if (offsets.size() != 2 || offsets[0].integer() == nullptr || offsets[1].integer() == nullptr ||
      *offsets[0].integer() < 0 || *offsets[1].integer() < *offsets[0].integer()) {
    return invalid("data_offsets of tensor '" + name + "' are not [begin, end]");
  }
  tensor.begin = static_cast<std::uint64_t>(*offsets[0].integer());
  tensor.end = static_cast<std::uint64_t>(*offsets[1].integer());
  FP_ASSIGN(const std::uint64_t size, byte_size(tensor));
  if (size != tensor.end - tensor.begin) {
    return invalid("tensor '" + name + "' has " + std::to_string(tensor.end - tensor.begin) +
                   " bytes, its shape needs " + std::to_string(size));
  }
  return tensor;
}

Status read_metadata(const CanonicalValue& value, SafetensorsHeader& header) {
  if (value.object() == nullptr) return invalid("__metadata__ is not an object");
  for (const auto& [key, text] : *value.object()) {
    if (text.string() == nullptr) return invalid("__metadata__ holds something but strings");
    header.metadata.emplace(key, *text.string());
  }
  return {};
}

// Offsets must cover the data exactly: no gap to hide bytes in, no overlap.
Status check_cover(const SafetensorsHeader& header, std::uint64_t data_size) {
  std::uint64_t at = 0;
  for (const TensorInfo& tensor : header.tensors) {
    if (tensor.begin != at) {
      return invalid("tensor '" + tensor.name + "' starts at " + std::to_string(tensor.begin) +
                     ", the one before ends at " + std::to_string(at));
    }
    at = tensor.end;
  }
  if (at != data_size) {
    return invalid("the tensors end at " + std::to_string(at) + ", the data at " +
                   std::to_string(data_size));
  }
  return {};
}

}  // namespace

std::size_t tensor_type_size(TensorType type) {
  switch (type) {
    case TensorType::kBf16:
      return 2;
    case TensorType::kF32:
      return 4;
  }
  FP_UNREACHABLE();
}

const char* tensor_type_name(TensorType type) {
  switch (type) {
    case TensorType::kBf16:
      return "BF16";
    case TensorType::kF32:
      return "F32";
  }
  FP_UNREACHABLE();
}

Result<SafetensorsHeader> parse_safetensors_header(std::span<const std::uint8_t> bytes,
                                                   std::uint64_t file_size) {
  if (bytes.size() < kLengthBytes || file_size < kLengthBytes) {
    return fail(ErrorKind::kCorrupt, "safetensors_truncated",
                "safetensors: the file ends inside its header length");
  }
  const std::uint64_t length = read_u64(bytes);
  if (length > kSafetensorsMaxHeader) {
    return fail(ErrorKind::kTooLarge, "safetensors_too_large",
                "safetensors: the header claims " + std::to_string(length) + " bytes, at most " +
                    std::to_string(kSafetensorsMaxHeader) + " are read");
  }
  if (length > file_size - kLengthBytes || length > bytes.size() - kLengthBytes) {
    return fail(ErrorKind::kCorrupt, "safetensors_truncated",
                "safetensors: the file ends inside its header");
  }
  const std::string_view json(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes,
                              static_cast<std::size_t>(length));
  if (json.empty() || json.front() != '{') return invalid("the header does not start with '{'");
  // Per tensor: itself, dtype, shape with its sizes, offsets with their two.
  const JsonLimits limits{.max_bytes = kSafetensorsMaxHeader,
                          .max_values = kSafetensorsMaxTensors * (kSafetensorsMaxRank + 6) + 256,
                          .max_depth = 3};
  const auto root = json_parse(json, limits);
  if (!root) return invalid(root.error().message);
  SafetensorsHeader header;
  header.data_start = kLengthBytes + length;
  for (const auto& [name, value] : *root->object()) {
    if (name == "__metadata__") {
      FP_TRY(read_metadata(value, header));
      continue;
    }
    FP_ASSIGN(TensorInfo tensor, read_tensor(name, value));
    header.tensors.push_back(std::move(tensor));
    if (header.tensors.size() > kSafetensorsMaxTensors) {
      return fail(ErrorKind::kTooLarge, "safetensors_too_large",
                  "safetensors: more than " + std::to_string(kSafetensorsMaxTensors) + " tensors");
    }
  }
  std::ranges::sort(header.tensors, [](const TensorInfo& a, const TensorInfo& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  FP_TRY(check_cover(header, file_size - header.data_start));
  return header;
}

std::string layout_safetensors(std::vector<TensorInfo>& tensors) {
  CanonicalValue::Object root;
  std::uint64_t at = 0;
  for (TensorInfo& tensor : tensors) {
    const Result<std::uint64_t> size = byte_size(tensor);
    FP_CHECK(size.has_value());
    tensor.begin = at;
    tensor.end = at += *size;
    CanonicalValue::Array shape(tensor.shape.begin(), tensor.shape.end());
    const bool fresh =
        root.emplace(
                tensor.name,
                CanonicalValue::Object{
                    {"dtype", tensor_type_name(tensor.type)},
                    {"shape", std::move(shape)},
                    {"data_offsets", CanonicalValue::Array{static_cast<std::int64_t>(tensor.begin),
                                                           static_cast<std::int64_t>(tensor.end)}}})
            .second;
    FP_CHECK(fresh);
  }
  const Result<std::string> json = canonical_print(CanonicalValue(std::move(root)));
  FP_CHECK(json.has_value());
  const std::size_t padded = (json->size() + 7) / 8 * 8;
  std::string header;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    header.push_back(static_cast<char>((padded >> (8 * i)) & 0xFFU));
  }
  header += *json;
  header.append(padded - json->size(), ' ');
  return header;
}

}  // namespace fieldprint
