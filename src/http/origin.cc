#include "http/origin.h"

#include <algorithm>

namespace fieldprint {
namespace {

// The authority of "http://host:port"; empty for other forms ("null", file:, ...).
std::string_view authority_of(std::string_view origin) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (origin.substr(0, scheme.size()) == scheme) {
      const std::string_view rest = origin.substr(scheme.size());
      return rest.find('/') == std::string_view::npos ? rest : std::string_view{};
    }
  }
  return {};
}

bool is_port(std::string_view text) {
  return !text.empty() && text.size() <= 5 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [&](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace

bool is_local_authority(std::string_view authority) {
  std::string_view host = authority;
  const std::size_t colon = authority.rfind(':');
  const std::size_t bracket = authority.rfind(']');
  const bool has_port =
      colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket);
  if (has_port) {
    if (!is_port(authority.substr(colon + 1))) return false;
    host = authority.substr(0, colon);
  }
  constexpr std::string_view kSuffix = ".localhost";
  const bool under_localhost =
      host.size() > kSuffix.size() &&
      equal_ignoring_case(host.substr(host.size() - kSuffix.size()), kSuffix);
  return equal_ignoring_case(host, "localhost") || host == "127.0.0.1" || host == "[::1]" ||
         under_localhost;
}

bool OriginPolicy::allows_origin(std::string_view origin, std::string_view host) const {
  if (std::find(origins_.begin(), origins_.end(), origin) != origins_.end()) return true;
  const std::string_view authority = authority_of(origin);
  if (authority.empty()) return false;
  return is_local_authority(authority) || equal_ignoring_case(authority, host);
}

bool OriginPolicy::allows_host(std::string_view host) const {
  switch (hosts_) {
    case HostRule::kAny:
      return true;
    case HostRule::kLoopbackOnly:
      return host.empty() || is_local_authority(host);
  }
  return false;
}

}  // namespace fieldprint
