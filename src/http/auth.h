// API keys: reading them and comparing them without telling how far one matched.
// Thread rule: const after construction.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace fieldprint {

// 8 to 512 visible ASCII characters, no comma. Errors: api_key_invalid.
Status check_api_key(std::string_view key);

class Authenticator {
 public:
  explicit Authenticator(std::vector<std::string> keys) : keys_(std::move(keys)) {}
  bool required() const { return !keys_.empty(); }
  // Index of the key presented in "Authorization: Bearer <key>" or "X-Api-Key",
  // nullopt if none fits. Time depends on the presented key's length alone.
  std::optional<std::size_t> match(std::string_view authorization,
                                   std::string_view x_api_key) const;

 private:
  std::vector<std::string> keys_;
};

}  // namespace fieldprint
