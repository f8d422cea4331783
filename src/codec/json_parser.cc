#include "codec/json_parser.h"

#include <charconv>
#include <utility>

#include "codec/utf8.h"

namespace fieldprint {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

void append_utf8(std::string& out, std::uint32_t code) {
  const auto put = [&](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80U) {
    put(code);
  } else if (code < 0x800U) {
    put(0xC0U | (code >> 6));
    put(0x80U | (code & 0x3FU));
  } else if (code < 0x10000U) {
    put(0xE0U | (code >> 12));
    put(0x80U | ((code >> 6) & 0x3FU));
    put(0x80U | (code & 0x3FU));
  } else {
    put(0xF0U | (code >> 18));
    put(0x80U | ((code >> 12) & 0x3FU));
    put(0x80U | ((code >> 6) & 0x3FU));
    put(0x80U | (code & 0x3FU));
  }
}

}  // namespace

tl::unexpected<Error> JsonParser::invalid(std::string_view what) const {
  return fail(ErrorKind::kInvalid, "json_invalid",
              "JSON at byte " + std::to_string(offset_) + ": " + std::string(what));
}

void JsonParser::skip_space() {
  while (at(' ') || at('\t') || at('\n') || at('\r')) ++offset_;
}

bool JsonParser::take(char c) {
  skip_space();
  if (!at(c)) return false;
  ++offset_;
  return true;
}

Result<CanonicalValue> JsonParser::parse() {
  if (text_.size() > limits_.max_bytes) {
    return fail(ErrorKind::kTooLarge, "json_too_large",
                "JSON text has " + std::to_string(text_.size()) + " bytes, at most " +
                    std::to_string(limits_.max_bytes) + " are read");
  }
  FP_ASSIGN(CanonicalValue result, value(0));
  skip_space();
  if (offset_ != text_.size()) return invalid("something follows the value");
  return result;
}

Result<CanonicalValue> JsonParser::value(int depth) {
  if (++values_ > limits_.max_values) {
    return fail(ErrorKind::kTooLarge, "json_too_large",
                "JSON holds more than " + std::to_string(limits_.max_values) + " values");
  }
  skip_space();
  if (offset_ == text_.size()) return invalid("the text ends where a value should be");
  const char c = text_[offset_];
  if (c == '{' || c == '[') {
    if (depth >= limits_.max_depth) {
      return fail(ErrorKind::kTooLarge, "json_too_large",
                  "JSON is nested deeper than " + std::to_string(limits_.max_depth));
    }
    return c == '{' ? object(depth + 1) : array(depth + 1);
  }
  if (c == '"') {
    FP_ASSIGN(std::string text, string());
    return CanonicalValue(std::move(text));
  }
  if (c == '-' || is_digit(c)) return integer();
  if (limits_.literals == JsonLiterals::kKeep && (c == 't' || c == 'f' || c == 'n')) return word();
  return invalid("expected an object, array, string or integer");
}

Result<CanonicalValue> JsonParser::object(int depth) {
  ++offset_;  // {
  CanonicalValue::Object fields;
  if (take('}')) return CanonicalValue(std::move(fields));
  do {
    skip_space();
    if (!at('"')) return invalid("expected a key");
    FP_ASSIGN(std::string key, string());
    if (fields.contains(key)) return invalid("the key \"" + key + "\" appears twice");
    if (!take(':')) return invalid("expected ':'");
    FP_ASSIGN(CanonicalValue field, value(depth));
    fields.emplace(std::move(key), std::move(field));
  } while (take(','));
  if (!take('}')) return invalid("expected ',' or '}'");
  return CanonicalValue(std::move(fields));
}

Result<CanonicalValue> JsonParser::array(int depth) {
  ++offset_;  // [
  CanonicalValue::Array items;
  if (take(']')) return CanonicalValue(std::move(items));
  do {
    FP_ASSIGN(CanonicalValue item, value(depth));
    items.push_back(std::move(item));
  } while (take(','));
  if (!take(']')) return invalid("expected ',' or ']'");
  return CanonicalValue(std::move(items));
}

Result<CanonicalValue> JsonParser::integer() {
  const char* const first = text_.data() + offset_;
  const char* const last = text_.data() + text_.size();
  std::int64_t number = 0;
  const auto [end, failure] = std::from_chars(first, last, number);
  if (failure == std::errc::result_out_of_range || number > kJsonIntegerMax ||
      number < -kJsonIntegerMax) {
    return invalid("the integer is out of range");
  }
  if (failure != std::errc{}) return invalid("expected a digit");
  const char* const digits = *first == '-' ? first + 1 : first;
  if (*digits == '0' && end - digits > 1) return invalid("a leading zero");
  if (end != last && (*end == '.' || *end == 'e' || *end == 'E')) {
    if (limits_.literals == JsonLiterals::kKeep)
      return fraction(static_cast<std::size_t>(end - first));
    return invalid("only integers are allowed here, not fractions or exponents");
  }
  if (*digits == '0' && *first == '-') return invalid("a leading zero");
  offset_ += static_cast<std::size_t>(end - first);
  return CanonicalValue(number);
}

Result<CanonicalValue> JsonParser::word() {
  for (const std::string_view word : {"true", "false", "null"}) {
    if (text_.substr(offset_, word.size()) != word) continue;
    offset_ += word.size();
    return CanonicalValue(JsonLiteral{std::string(word)});
  }
  return invalid("expected true, false or null");
}

// The rest of a number whose integer part, `whole` characters long, was checked.
Result<CanonicalValue> JsonParser::fraction(std::size_t whole) {
  const std::size_t begin = offset_;
  offset_ += whole;
  const auto digits = [&] {
    const std::size_t first = offset_;
    while (offset_ < text_.size() && is_digit(text_[offset_])) ++offset_;
    return offset_ > first;
  };
  if (at('.')) {
    ++offset_;
    if (!digits()) return invalid("expected a digit");
  }
  if (at('e') || at('E')) {
    ++offset_;
    if (at('+') || at('-')) ++offset_;
    if (!digits()) return invalid("expected a digit");
  }
  return CanonicalValue(JsonLiteral{std::string(text_.substr(begin, offset_ - begin))});
}

Result<std::string> JsonParser::string() {
  ++offset_;  // "
  std::string out;
  while (true) {
    if (offset_ == text_.size()) return invalid("the text ends inside a string");
    const char c = text_[offset_];
    if (c == '"') break;
    if (static_cast<unsigned char>(c) < 0x20U) return invalid("a raw control character");
    ++offset_;
    if (c == '\\') {
      FP_TRY(escape(out));
    } else {
      out.push_back(c);
    }
  }
  if (!utf8_valid(out)) return invalid("a string is not valid UTF-8");
  ++offset_;
  return out;
}

Status JsonParser::escape(std::string& out) {
  if (offset_ == text_.size()) return invalid("the text ends inside an escape");
  constexpr std::string_view kNames = "\"\\/btnfr";
  constexpr std::string_view kMeanings = "\"\\/\b\t\n\f\r";
  const char c = text_[offset_++];
  if (const std::size_t i = kNames.find(c); i != std::string_view::npos) {
    out.push_back(kMeanings[i]);
    return {};
  }
  if (c != 'u') return invalid("an unknown escape");
  FP_ASSIGN(std::uint32_t code, hex4());
  if (code >= 0xDC00U && code < 0xE000U) return invalid("a lone surrogate");
  if (code >= 0xD800U && code < 0xDC00U) {
    if (text_.substr(offset_, 2) != "\\u") return invalid("a lone surrogate");
    offset_ += 2;
    FP_ASSIGN(const std::uint32_t low, hex4());
    if (low < 0xDC00U || low >= 0xE000U) return invalid("a lone surrogate");
    code = 0x10000U + ((code - 0xD800U) << 10) + (low - 0xDC00U);
  }
  append_utf8(out, code);
  return {};
}

Result<std::uint32_t> JsonParser::hex4() {
  const std::string_view digits = text_.substr(offset_, 4);
  std::uint32_t code = 0;
  const auto [end, failure] =
      std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
  if (digits.size() != 4 || failure != std::errc{} || end != digits.data() + 4) {
    return invalid("expected four hexadecimal digits");
  }
  offset_ += 4;
  return code;
}

}  // namespace fieldprint
