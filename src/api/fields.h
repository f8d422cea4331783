// Typed access to the fields of a JSON object, with the errors clients see.
// A field that nobody asks for is unknown: it ends up in ignored_fields.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace fieldprint {

// An integer or real interval, as it is checked and as it is printed.
struct RealRange {
  double low;
  double high;
  const char* text;  // "0 to 2", "above 0, up to 1"
  bool low_open = false;
};
struct IntRange {
  std::int64_t low;
  std::int64_t high;
};

class BodyReader {
 public:
  // `object` must outlive the reader. prefix: "" or "messages[3]." for params.
  BodyReader(const nlohmann::json& object, std::string prefix);

  // The field's value, nullptr when absent or null. Marks the name as known.
  const nlohmann::json* find(std::string_view name);

  // Errors: invalid_type, invalid_value; param is prefix + name.
  Result<std::optional<double>> real(std::string_view name, const RealRange& range);
  Result<std::optional<std::int64_t>> integer(std::string_view name, const IntRange& range);
  Result<std::optional<bool>> boolean(std::string_view name);
  Result<std::optional<std::string>> text(std::string_view name, std::size_t max_bytes);

  // Names present in the object, not null, that find() was never asked for.
  std::vector<std::string> unknown() const;
  std::string param(std::string_view name) const { return prefix_ + std::string(name); }
  const nlohmann::json& object() const { return object_; }

 private:
  const nlohmann::json& object_;
  std::string prefix_;
  std::set<std::string, std::less<>> known_;
};

// "must be a string, not a number"
tl::unexpected<Error> field_wrong_type(std::string param, std::string_view wanted,
                                       const nlohmann::json& value);
tl::unexpected<Error> field_wrong_value(std::string param, const std::string& message);
tl::unexpected<Error> field_unsupported(std::string param, const std::string& message);
tl::unexpected<Error> field_missing(std::string param, const std::string& message = "is missing");

}  // namespace fieldprint
