#include "codec/canonical_json.h"

#include <algorithm>
#include <utility>

#include "codec/json_parser.h"
#include "codec/utf8.h"

namespace fieldprint {
namespace {

tl::unexpected<Error> unprintable(std::string what) {
  return fail(ErrorKind::kInvalid, "json_unprintable", std::move(what));
}

Status print_string(std::string_view text, std::string& out) {
  if (!utf8_valid(text)) return unprintable("a string is not valid UTF-8");
  constexpr std::string_view kEscaped = "\"\\\b\t\n\f\r";
  constexpr std::string_view kNames = "\"\\btnfr";
  constexpr char kHex[] = "0123456789abcdef";
  out.push_back('"');
  for (const char c : text) {
    if (const std::size_t i = kEscaped.find(c); i != std::string_view::npos) {
      out.push_back('\\');
      out.push_back(kNames[i]);
    } else if (static_cast<unsigned char>(c) < 0x20U) {
      out += "\\u00";
      out.push_back(kHex[static_cast<unsigned char>(c) >> 4]);
      out.push_back(kHex[static_cast<unsigned char>(c) & 15U]);
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
  return {};
}

bool printable_key(std::string_view key) {
  return std::ranges::all_of(key, [](char c) { return c >= 0x20 && c < 0x7F; });
}

Status print_value(const CanonicalValue& value, std::string& out) {
  if (const std::int64_t* const number = value.integer()) {
    if (*number > kJsonIntegerMax || *number < -kJsonIntegerMax) {
      return unprintable("the integer " + std::to_string(*number) + " is out of range");
    }
    out += std::to_string(*number);
    return {};
  }
  if (const std::string* const text = value.string()) return print_string(*text, out);
  if (value.literal() != nullptr) {
    return unprintable("'" + value.literal()->text + "' has no canonical form");
  }
  if (const CanonicalValue::Array* const items = value.array()) {
    char separator = '[';
    for (const CanonicalValue& item : *items) {
      out.push_back(std::exchange(separator, ','));
      FP_TRY(print_value(item, out));
    }
    out += items->empty() ? "[]" : "]";
    return {};
  }
  const CanonicalValue::Object& fields = *value.object();
  char separator = '{';
  for (const auto& [key, field] : fields) {
    if (!printable_key(key)) return unprintable("a key is not printable ASCII");
    out.push_back(std::exchange(separator, ','));
    FP_TRY(print_string(key, out));
    out.push_back(':');
    FP_TRY(print_value(field, out));
  }
  out += fields.empty() ? "{}" : "}";
  return {};
}

}  // namespace

CanonicalValue::~CanonicalValue() = default;
CanonicalValue::CanonicalValue(const CanonicalValue&) = default;
CanonicalValue::CanonicalValue(CanonicalValue&&) noexcept = default;
CanonicalValue& CanonicalValue::operator=(const CanonicalValue&) = default;
CanonicalValue& CanonicalValue::operator=(CanonicalValue&&) noexcept = default;

Result<std::string> canonical_print(const CanonicalValue& value) {
  std::string out;
  FP_TRY(print_value(value, out));
  return out;
}

Result<CanonicalValue> json_parse(std::string_view text, const JsonLimits& limits) {
  return JsonParser(text, limits).parse();
}

Result<CanonicalValue> canonical_parse(std::string_view text, const JsonLimits& limits) {
  FP_ASSIGN(CanonicalValue value, json_parse(text, limits));
  // Printing again is the definition of the form; a second set of rules could disagree.
  const Result<std::string> again = canonical_print(value);
  if (!again || *again != text) {
    return fail(ErrorKind::kInvalid, "json_not_canonical",
                "JSON text is not in canonical form (sorted keys, no white space, shortest "
                "escapes)");
  }
  return value;
}

const CanonicalValue* member(const CanonicalValue* value, std::string_view name) {
  if (value == nullptr || value->object() == nullptr) return nullptr;
  const auto found = value->object()->find(name);
  return found == value->object()->end() ? nullptr : &found->second;
}

const std::string* text_member(const CanonicalValue* value, std::string_view name) {
  const CanonicalValue* const found = member(value, name);
  return found == nullptr ? nullptr : found->string();
}

}  // namespace fieldprint
