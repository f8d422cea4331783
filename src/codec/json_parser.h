// Recursive-descent reader behind canonical_json.h. Internal to src/codec.
#pragma once

#include <string>
#include <string_view>

#include "codec/canonical_json.h"

namespace fieldprint {

class JsonParser {
 public:
  JsonParser(std::string_view text, const JsonLimits& limits) : text_(text), limits_(limits) {}
  Result<CanonicalValue> parse();

 private:
  Result<CanonicalValue> value(int depth);
  Result<CanonicalValue> object(int depth);
  Result<CanonicalValue> array(int depth);
  Result<CanonicalValue> integer();
  Result<CanonicalValue> word();
  Result<CanonicalValue> fraction(std::size_t whole);
  Result<std::string> string();
  Status escape(std::string& out);
  Result<std::uint32_t> hex4();
  void skip_space();
  bool take(char c);
  bool at(char c) const { return offset_ < text_.size() && text_[offset_] == c; }
  tl::unexpected<Error> invalid(std::string_view what) const;

  std::string_view text_;
  const JsonLimits& limits_;
  std::size_t offset_ = 0;
  std::size_t values_ = 0;
};

}  // namespace fieldprint
