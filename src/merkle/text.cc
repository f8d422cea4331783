#include "merkle/text.h"

#include <algorithm>
#include <charconv>

#include "codec/base64.h"

namespace fieldprint {
namespace {
constexpr std::size_t kHashText = 44;
}  // namespace

bool take_line(std::string_view& rest, std::string_view& line) {
  const std::size_t end = rest.find('\n');
  if (end == std::string_view::npos) return false;
  line = rest.substr(0, end);
  rest.remove_prefix(end + 1);
  return true;
}

bool parse_decimal(std::string_view text, std::uint64_t& value) {
  if (text.empty() || (text.size() > 1 && text.front() == '0')) return false;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && at == end && value <= kMaxTreeSize;
}

bool parse_hash(std::string_view text, Digest256& hash) {
  if (text.size() != kHashText) return false;
  const auto bytes = base64_decode(text);
  if (!bytes || bytes->size() != hash.size()) return false;
  std::copy(bytes->begin(), bytes->end(), hash.begin());
  return true;
}

std::string print_hash(const Digest256& hash) { return base64_encode(hash); }

}  // namespace fieldprint
