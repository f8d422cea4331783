// JSON restricted to what can be signed: objects, arrays, strings and integers.
//
// Canonical form: no white space, keys sorted by byte, integers in plain decimal within
// +-(2^53-1), strings in UTF-8 with only \" \\ \b \t \n \f \r and \u00xx (lower case) as
// escapes. With keys of printable ASCII, which are required, this is RFC 8785 restricted
// to the types above: any JCS implementation prints the same bytes.
//
// Floats, booleans and null are refused. So are duplicate keys. Readers of foreign JSON may
// ask for them (JsonLiterals::kKeep); they arrive as text and cannot be printed again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/error.h"

namespace fieldprint {

inline constexpr std::int64_t kJsonIntegerMax = (std::int64_t{1} << 53) - 1;

// true, false, null, or a number with a fraction or exponent, as it was written.
struct JsonLiteral {
  std::string text;
};

class CanonicalValue {
 public:
  using Array = std::vector<CanonicalValue>;
  using Object = std::map<std::string, CanonicalValue, std::less<>>;

  CanonicalValue(std::int64_t value) : value_(value) {}              // NOLINT: values read as JSON
  CanonicalValue(std::string value) : value_(std::move(value)) {}    // NOLINT
  CanonicalValue(const char* value) : value_(std::string(value)) {}  // NOLINT
  CanonicalValue(Array value) : value_(std::move(value)) {}          // NOLINT
  CanonicalValue(Object value) : value_(std::move(value)) {}         // NOLINT
  CanonicalValue(JsonLiteral value) : value_(std::move(value)) {}    // NOLINT

  // Out of line: g++ 12 inlines the variant's and then warns of values it never holds.
  ~CanonicalValue();
  CanonicalValue(const CanonicalValue&);
  CanonicalValue(CanonicalValue&&) noexcept;
  CanonicalValue& operator=(const CanonicalValue&);
  CanonicalValue& operator=(CanonicalValue&&) noexcept;

  // nullptr when the value is of another type.
  const std::int64_t* integer() const { return std::get_if<std::int64_t>(&value_); }
  const std::string* string() const { return std::get_if<std::string>(&value_); }
  const Array* array() const { return std::get_if<Array>(&value_); }
  const Object* object() const { return std::get_if<Object>(&value_); }
  const JsonLiteral* literal() const { return std::get_if<JsonLiteral>(&value_); }

 private:
  std::variant<std::int64_t, std::string, Array, Object, JsonLiteral> value_;
};

// For reading documents of other makers: nullptr when value is null or no object, when the member
// is absent, or, for text_member, when it is no text.
const CanonicalValue* member(const CanonicalValue* value, std::string_view name);
const std::string* text_member(const CanonicalValue* value, std::string_view name);

enum class JsonLiterals : std::uint8_t { kRefuse, kKeep };

struct JsonLimits {
  std::size_t max_bytes = std::size_t{1} << 20;
  std::size_t max_values = 65536;  // all values together
  int max_depth = 16;              // nesting of objects and arrays
  JsonLiterals literals = JsonLiterals::kRefuse;
};

// Errors: json_unprintable (invalid UTF-8, an integer out of range, a key that is not
// printable ASCII, a literal).
Result<std::string> canonical_print(const CanonicalValue& value);

// Reads any JSON text of these types: white space, escapes and key order are free.
// Errors: json_invalid (message with byte offset), json_too_large.
Result<CanonicalValue> json_parse(std::string_view text, const JsonLimits& limits = {});

// Reads canonical text only. Errors: as json_parse, json_not_canonical.
Result<CanonicalValue> canonical_parse(std::string_view text, const JsonLimits& limits = {});

// Takes the fields of one object and then insists that none is left. The first error
// sticks; later calls give empty values, so a reader checks once, at finish().
// Error codes are json_missing_field, json_wrong_type, json_out_of_range,
// json_unknown_field; messages name the field, with `path` in front.
class FieldReader {
 public:
  FieldReader(const CanonicalValue& value, std::string path);

  std::string string(const char* name, std::size_t max_bytes);
  std::int64_t integer(const char* name, std::int64_t low, std::int64_t high);
  // Both live as long as the value; empty objects and arrays stand in on error.
  const CanonicalValue& object(const char* name);
  const CanonicalValue::Array& array(const char* name, std::size_t max_items);
  Status finish();

 private:
  const CanonicalValue* take(const char* name);
  void refuse(std::string_view code, const std::string& name, const std::string& what);

  std::map<std::string, const CanonicalValue*, std::less<>> left_;
  std::string path_;
  Status status_;
};

}  // namespace fieldprint
