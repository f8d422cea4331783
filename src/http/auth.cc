#include "http/auth.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "http/server.h"

namespace fieldprint {
namespace {

constexpr std::size_t kMinKey = 8;
constexpr std::size_t kMaxKey = 512;
constexpr std::size_t kMaxKeys = 1024;

// Touches every byte of `presented` whatever `key` is.
bool equal(std::string_view presented, std::string_view key) {
  unsigned difference = presented.size() == key.size() ? 0U : 1U;
  for (std::size_t i = 0; i < presented.size(); ++i) {
    const char expected = key[i % key.size()];
    difference |= static_cast<unsigned char>(presented[i] ^ expected);
  }
  return difference == 0;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) {
    text.remove_suffix(1);
  }
  return text;
}

std::string_view bearer_token(std::string_view authorization) {
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() < kScheme.size()) return {};
  for (std::size_t i = 0; i < kScheme.size(); ++i) {
    const char c = authorization[i];
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if (lower != kScheme[i]) return {};
  }
  return trimmed(authorization.substr(kScheme.size()));
}

Result<std::vector<std::string>> collect(std::istream& in, char separator) {
  std::vector<std::string> keys;
  std::string piece;
  while (std::getline(in, piece, separator)) {
    const std::string_view key = trimmed(piece);
    if (key.empty() || key.front() == '#') continue;
    FP_TRY(check_api_key(key));
    keys.emplace_back(key);
    if (keys.size() > kMaxKeys) {
      return fail(ErrorKind::kTooLarge, "api_key_invalid", "more than 1024 API keys");
    }
  }
  if (keys.empty()) {
    return fail(ErrorKind::kInvalid, "api_key_invalid", "no API key where one was expected");
  }
  return keys;
}

}  // namespace

Status check_api_key(std::string_view key) {
  bool visible = true;
  for (const char c : key) visible = visible && c > ' ' && c < 0x7F && c != ',';
  if (visible && key.size() >= kMinKey && key.size() <= kMaxKey) return {};
  return fail(ErrorKind::kInvalid, "api_key_invalid",
              "an API key must be 8 to 512 visible ASCII characters without a comma");
}

std::optional<std::size_t> Authenticator::match(std::string_view authorization,
                                                std::string_view x_api_key) const {
  std::string_view presented = bearer_token(authorization);
  if (presented.empty()) presented = trimmed(x_api_key);
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < keys_.size(); ++i) {  // all of them: no early exit
    if (equal(presented, keys_[i]) && !presented.empty()) found = i;
  }
  return found;
}

Result<std::vector<std::string>> load_api_keys(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return fail(ErrorKind::kNotFound, "api_key_file_missing",
                "cannot read the API key file " + path + ": " +
                    (errno != 0 ? std::strerror(errno) : "not a file"));
  }
  if ((info.st_mode & 077) != 0) {
    return fail(ErrorKind::kForbidden, "api_key_file_mode",
                "others can read the API key file " + path + "; run: chmod 600 " + path);
  }
  std::ifstream in(path);
  if (!in) {
    return fail(ErrorKind::kIo, "api_key_file_missing", "cannot open the API key file " + path);
  }
  return collect(in, '\n');
}

Result<std::vector<std::string>> parse_api_keys(const std::string& list) {
  std::istringstream in(list);
  return collect(in, ',');
}

}  // namespace fieldprint
