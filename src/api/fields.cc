#include "api/fields.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "core/check.h"

namespace fieldprint {

using nlohmann::json;

namespace {

// "'param' text". Appended: GCC 12 warns falsely about "x" + std::string (its bug 105651).
std::string about(const std::string& param, std::string_view text) {
  std::string message;
  message += '\'';
  message += param;
  message += "' ";
  message += text;
  return message;
}

}  // namespace

tl::unexpected<Error> field_wrong_type(std::string param, std::string_view wanted,
                                       const json& value) {
  std::string message = about(param, "must be ");
  message += wanted;
  message += ", not ";
  message += value.type_name();
  return fail(ErrorKind::kInvalid, "invalid_type", std::move(message), std::move(param));
}

tl::unexpected<Error> field_wrong_value(std::string param, const std::string& message) {
  std::string text = about(param, message);
  return fail(ErrorKind::kInvalid, "invalid_value", std::move(text), std::move(param));
}

tl::unexpected<Error> field_unsupported(std::string param, const std::string& message) {
  std::string text = about(param, message);
  return fail(ErrorKind::kUnsupported, "unsupported", std::move(text), std::move(param));
}

tl::unexpected<Error> field_missing(std::string param, const std::string& message) {
  std::string text = about(param, message);
  return fail(ErrorKind::kInvalid, "missing_field", std::move(text), std::move(param));
}

BodyReader::BodyReader(const json& object, std::string prefix)
    : object_(object), prefix_(std::move(prefix)) {
  FP_CHECK(object.is_object());
}

const json* BodyReader::find(std::string_view name) {
  const auto known = known_.emplace(name).first;
  const auto it = object_.find(*known);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

Result<std::optional<double>> BodyReader::real(std::string_view name, const RealRange& range) {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) return field_wrong_type(param(name), "a number", *value);
  const double number = value->get<double>();
  const bool above = range.low_open ? number > range.low : number >= range.low;
  if (!above || !(number <= range.high)) {
    return field_wrong_value(param(name), std::string("must be ") + range.text);
  }
  return number;
}

Result<std::optional<std::int64_t>> BodyReader::integer(std::string_view name,
                                                        const IntRange& range) {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer()) return field_wrong_type(param(name), "an integer", *value);
  // An unsigned value over the signed range would turn negative in get<int64>.
  const bool huge = value->is_number_unsigned() &&
                    value->get<std::uint64_t>() > static_cast<std::uint64_t>(range.high);
  const std::int64_t number = huge ? 0 : value->get<std::int64_t>();
  if (huge || number < range.low || number > range.high) {
    return field_wrong_value(
        param(name), "must be " + std::to_string(range.low) + " to " + std::to_string(range.high));
  }
  return number;
}

Result<std::optional<bool>> BodyReader::boolean(std::string_view name) {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) return field_wrong_type(param(name), "a boolean", *value);
  return value->get<bool>();
}

Result<std::optional<std::string>> BodyReader::text(std::string_view name, std::size_t max_bytes) {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) return field_wrong_type(param(name), "a string", *value);
  const auto& string = value->get_ref<const std::string&>();
  if (string.size() > max_bytes) {
    return field_wrong_value(param(name), "is longer than " + std::to_string(max_bytes) + " bytes");
  }
  return string;
}

std::vector<std::string> BodyReader::unknown() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : object_.items()) {
    if (!value.is_null() && known_.find(name) == known_.end()) names.push_back(prefix_ + name);
  }
  return names;
}

}  // namespace fieldprint
