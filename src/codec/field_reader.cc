#include <utility>

#include "codec/canonical_json.h"

namespace fieldprint {
namespace {

const CanonicalValue& empty_object() {
  static const CanonicalValue value{CanonicalValue::Object{}};
  return value;
}
const CanonicalValue& empty_array() {
  static const CanonicalValue value{CanonicalValue::Array{}};
  return value;
}

}  // namespace

FieldReader::FieldReader(const CanonicalValue& value, std::string path) : path_(std::move(path)) {
  const CanonicalValue::Object* const fields = value.object();
  if (fields == nullptr) {
    status_ = fail(ErrorKind::kInvalid, "json_wrong_type", path_ + " must be an object", path_);
    return;
  }
  for (const auto& [key, field] : *fields) left_.emplace(key, &field);
}

void FieldReader::refuse(std::string_view code, const std::string& name, const std::string& what) {
  if (!status_) return;
  const std::string full = path_ + "." + name;
  status_ = fail(ErrorKind::kInvalid, code, full + " " + what, full);
}

const CanonicalValue* FieldReader::take(const char* name) {
  const auto found = left_.find(name);
  if (found == left_.end()) {
    refuse("json_missing_field", name, "is missing");
    return nullptr;
  }
  const CanonicalValue* const value = found->second;
  left_.erase(found);
  return value;
}

std::string FieldReader::string(const char* name, std::size_t max_bytes) {
  const CanonicalValue* const value = take(name);
  if (value == nullptr) return {};
  const std::string* const text = value->string();
  if (text == nullptr) {
    refuse("json_wrong_type", name, "must be a string");
    return {};
  }
  if (text->size() > max_bytes) {
    refuse("json_out_of_range", name, "is longer than " + std::to_string(max_bytes) + " bytes");
    return {};
  }
  return *text;
}

std::int64_t FieldReader::integer(const char* name, std::int64_t low, std::int64_t high) {
  const CanonicalValue* const value = take(name);
  if (value == nullptr) return low;
  const std::int64_t* const number = value->integer();
  if (number == nullptr) {
    refuse("json_wrong_type", name, "must be an integer");
    return low;
  }
  if (*number < low || *number > high) {
    refuse("json_out_of_range", name,
           "is " + std::to_string(*number) + ", allowed are " + std::to_string(low) + " to " +
               std::to_string(high));
    return low;
  }
  return *number;
}

const CanonicalValue& FieldReader::object(const char* name) {
  const CanonicalValue* const value = take(name);
  if (value == nullptr) return empty_object();
  if (value->object() == nullptr) {
    refuse("json_wrong_type", name, "must be an object");
    return empty_object();
  }
  return *value;
}

const CanonicalValue::Array& FieldReader::array(const char* name, std::size_t max_items) {
  const CanonicalValue* const value = take(name);
  if (value == nullptr) return *empty_array().array();
  const CanonicalValue::Array* const items = value->array();
  if (items == nullptr) {
    refuse("json_wrong_type", name, "must be an array");
    return *empty_array().array();
  }
  if (items->size() > max_items) {
    refuse("json_out_of_range", name, "has more than " + std::to_string(max_items) + " items");
    return *empty_array().array();
  }
  return *items;
}

Status FieldReader::finish() {
  if (status_ && !left_.empty()) {
    refuse("json_unknown_field", left_.begin()->first, "is not a field this version knows");
  }
  return status_;
}

}  // namespace fieldprint
