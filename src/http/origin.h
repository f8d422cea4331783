// Which web pages may talk to the server. Browsers send Origin; pages elsewhere
// are refused, and so is a foreign Host on a keyless loopback server (a page whose
// name was rebound to 127.0.0.1 would otherwise count as the same site).
// Thread rule: const after construction.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fieldprint {

enum class HostRule : std::uint8_t { kAny, kLoopbackOnly };

class OriginPolicy {
 public:
  OriginPolicy(std::vector<std::string> origins, HostRule hosts)
      : origins_(std::move(origins)), hosts_(hosts) {}

  // origin: the Origin header, not empty. host: the Host header.
  bool allows_origin(std::string_view origin, std::string_view host) const;
  bool allows_host(std::string_view host) const;  // host may be empty (HTTP/1.0)

 private:
  std::vector<std::string> origins_;
  HostRule hosts_;
};

// "localhost", "127.0.0.1", "[::1]" and names under .localhost, with or without port.
bool is_local_authority(std::string_view authority);

}  // namespace fieldprint
