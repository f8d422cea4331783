#include "provenance/scope.h"

#include <algorithm>

namespace fieldprint {
namespace {

constexpr std::size_t kDigestText = 7 + 64;  // "sha256:" and 64 digits
constexpr std::size_t kShortDigest = 7 + 12;

bool is_tenant(std::string_view text) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  };
  return !text.empty() && text.size() <= kTenantMaxBytes && std::ranges::all_of(text, plain);
}

tl::unexpected<Error> invalid(std::string what, const char* param) {
  return fail(ErrorKind::kInvalid, "scope_invalid", std::move(what), param);
}

constexpr const char* kTenantRule = "a tenant is 1 to 64 of a-z 0-9 . _ -";

std::string join(std::string_view tenant, std::string_view model) {
  const std::string who = tenant == kScopeAny ? "every tenant" : "tenant " + std::string(tenant);
  if (model == kScopeAny) return who + ", every model";
  return who + ", model " + std::string(model.substr(0, kShortDigest));
}

}  // namespace

bool is_digest_text(std::string_view text) {
  if (text.size() != kDigestText || !text.starts_with("sha256:")) return false;
  return std::ranges::all_of(
      text.substr(7), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

Status check_scope(const Scope& scope) {
  if (scope.tenant != kScopeAny && !is_tenant(scope.tenant)) {
    return invalid(std::string(kTenantRule) + ", or \"*\"", "tenant");
  }
  if (scope.model_digest != kScopeAny && !is_digest_text(scope.model_digest)) {
    return invalid("a scope's model is sha256:<64 hex digits>, or \"*\"", "model_digest");
  }
  return {};
}

Status check_place(const Place& place) {
  if (!is_tenant(place.tenant)) return invalid(kTenantRule, "tenant");
  if (!is_digest_text(place.model_digest)) {
    return invalid("a model's digest is sha256:<64 hex digits>", "model_digest");
  }
  return {};
}

bool covers(const Scope& scope, const Place& place) {
  return (scope.tenant == kScopeAny || scope.tenant == place.tenant) &&
         (scope.model_digest == kScopeAny || scope.model_digest == place.model_digest);
}

std::string describe(const Scope& scope) { return join(scope.tenant, scope.model_digest); }
std::string describe(const Place& place) { return join(place.tenant, place.model_digest); }

}  // namespace fieldprint
