// Where a statement holds: for which tenant, and behind which model.
#pragma once

#include <string>
#include <string_view>

#include "core/error.h"

namespace fieldprint {

inline constexpr std::string_view kScopeAny = "*";
inline constexpr std::size_t kTenantMaxBytes = 64;

// "sha256:<64 lower-case hex digits>", the form digest_string() prints.
bool is_digest_text(std::string_view text);

struct Scope {
  std::string tenant;        // 1..64 of a-z 0-9 . _ -, or "*" for every tenant
  std::string model_digest;  // "sha256:<hex>" of the model file, or "*" for every model

  friend bool operator==(const Scope&, const Scope&) = default;
};

// The place an anchor is wanted for. Both concrete; never "*".
struct Place {
  std::string tenant;
  std::string model_digest;
};

// Errors: scope_invalid.
Status check_scope(const Scope& scope);
Status check_place(const Place& place);

bool covers(const Scope& scope, const Place& place);

// "tenant acme, model sha256:0123...", for messages.
std::string describe(const Scope& scope);
std::string describe(const Place& place);

}  // namespace fieldprint
