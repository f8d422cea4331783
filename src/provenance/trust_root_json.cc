// The trust root's document: printing and reading.
#include "codec/canonical_json.h"
#include "provenance/trust_root.h"

namespace fieldprint {
namespace {

constexpr const char* kFormat = "fieldprint-trust-root";
constexpr std::int64_t kSpec = 1;
constexpr std::size_t kMaxVkey = 512;
constexpr std::size_t kMaxPem = 1024;
constexpr std::size_t kDigestBytes = 7 + 64;

// Errors of the JSON layer under the names this format promises.
tl::unexpected<Error> rename(const Error& error) {
  if (error.code == "json_too_large") {
    return fail(ErrorKind::kTooLarge, "root_too_large", "trust root: " + error.message);
  }
  if (error.code == "json_unknown_field") {
    return fail(ErrorKind::kUnsupported, "root_unknown_field", error.message, error.param);
  }
  return fail(ErrorKind::kCorrupt, "root_corrupt", "trust root: " + error.message, error.param);
}

CanonicalValue roles_value(const TrustRoot& root) {
  CanonicalValue::Object roles;
  for (const AuthorityRole role : kAuthorityRoles) {
    CanonicalValue::Array keys;
    for (const std::string& name : root.role(role).keys) keys.emplace_back(name);
    roles.emplace(role_name(role),
                  CanonicalValue::Object{{"keys", std::move(keys)},
                                         {"threshold", root.role(role).threshold}});
  }
  return roles;
}

Status read_names(const CanonicalValue::Array& items, std::vector<std::string>& names) {
  for (const CanonicalValue& item : items) {
    if (item.string() == nullptr || item.string()->size() > kMaxKeyName) {
      return fail(ErrorKind::kCorrupt, "root_corrupt", "trust root: a key's name is no short text");
    }
    names.push_back(*item.string());
  }
  return {};
}

Status read_roles(const CanonicalValue& value, TrustRoot& root) {
  FieldReader fields(value, "roles");
  for (const AuthorityRole role : kAuthorityRoles) {
    FieldReader one(fields.object(role_name(role)), std::string("roles.") + role_name(role));
    FP_TRY(read_names(one.array("keys", kRootMaxAuthorities), root.role(role).keys));
    root.role(role).threshold =
        one.integer("threshold", 1, static_cast<std::int64_t>(kRootMaxAuthorities));
    FP_TRY(one.finish());
  }
  return fields.finish();
}

Status read_authorities(const CanonicalValue::Array& items, TrustRoot& root) {
  std::vector<std::string> vkeys;
  for (const CanonicalValue& item : items) {
    if (item.string() == nullptr || item.string()->size() > kMaxVkey) {
      return fail(ErrorKind::kCorrupt, "root_corrupt", "trust root: an authority is no vkey");
    }
    FP_ASSIGN(VerifierKey key, VerifierKey::parse(*item.string()));
    root.authorities.push_back(std::move(key));
  }
  return {};
}

Status read_anchor_keys(const CanonicalValue::Array& items, TrustRoot& root) {
  for (const CanonicalValue& item : items) {
    FieldReader fields(item, "anchor_keys[]");
    AnchorKey key;
    key.name = fields.string("name", kMaxKeyName);
    key.pem = fields.string("pem", kMaxPem);
    FP_TRY(fields.finish());
    root.anchor_keys.push_back(std::move(key));
  }
  return {};
}

Status check_format(const CanonicalValue& value) {
  const CanonicalValue::Object* const fields = value.object();
  const auto has = [&](const char* name) {
    return fields != nullptr && fields->find(name) != fields->end();
  };
  if (!has("format") || fields->at("format").string() == nullptr ||
      *fields->at("format").string() != kFormat) {
    return fail(ErrorKind::kCorrupt, "root_format", "this is no trust root of fieldprint");
  }
  if (!has("spec") || fields->at("spec").integer() == nullptr ||
      *fields->at("spec").integer() != kSpec) {
    return fail(ErrorKind::kUnsupported, "root_format",
                "the trust root has another spec than 1, which this build reads");
  }
  return {};
}

Status read_root(const CanonicalValue& value, TrustRoot& root) {
  FieldReader fields(value, "root");
  (void)fields.string("format", kDigestBytes);  // checked by check_format
  (void)fields.integer("spec", kSpec, kSpec);
  root.version = fields.integer("version", 1, kTimeMax);
  root.previous = fields.string("previous", kDigestBytes);
  root.issued_at = fields.integer("issued_at", 0, kTimeMax);
  root.policy = fields.string("policy", kRootMaxPolicy);
  root.checkpoint_max_age = fields.integer("checkpoint_max_age", 1, kCheckpointMaxAge);
  const CanonicalValue::Array& authorities = fields.array("authorities", kRootMaxAuthorities);
  const CanonicalValue& roles = fields.object("roles");
  const CanonicalValue::Array& anchor_keys = fields.array("anchor_keys", kRootMaxAnchorKeys);
  FP_TRY(fields.finish());
  FP_TRY(read_authorities(authorities, root));
  FP_TRY(read_roles(roles, root));
  return read_anchor_keys(anchor_keys, root);
}

}  // namespace

Result<std::string> print_root(const TrustRoot& root) {
  FP_TRY(check_root(root));
  CanonicalValue::Array authorities;
  for (const VerifierKey& key : root.authorities) authorities.emplace_back(key.print());
  CanonicalValue::Array anchor_keys;
  for (const AnchorKey& key : root.anchor_keys) {
    anchor_keys.emplace_back(CanonicalValue::Object{{"name", key.name}, {"pem", key.pem}});
  }
  const CanonicalValue value(CanonicalValue::Object{
      {"anchor_keys", std::move(anchor_keys)},
      {"authorities", std::move(authorities)},
      {"checkpoint_max_age", root.checkpoint_max_age},
      {"format", kFormat},
      {"issued_at", root.issued_at},
      {"policy", root.policy},
      {"previous", root.previous},
      {"roles", roles_value(root)},
      {"spec", kSpec},
      {"version", root.version},
  });
  Result<std::string> text = canonical_print(value);
  if (!text) return rename(text.error());
  if (text->size() > kRootMaxBytes) {
    return fail(ErrorKind::kTooLarge, "root_too_large",
                "the trust root has " + std::to_string(text->size()) + " bytes, at most " +
                    std::to_string(kRootMaxBytes) + " are allowed");
  }
  return text;
}

Result<TrustRoot> parse_root(std::string_view payload) {
  const JsonLimits limits{
      .max_bytes = kRootMaxBytes, .max_values = kRootMaxValues, .max_depth = kRootMaxDepth};
  const Result<CanonicalValue> value = canonical_parse(payload, limits);
  if (!value) return rename(value.error());
  FP_TRY(check_format(*value));
  TrustRoot root;
  if (const Status read = read_root(*value, root); !read) {
    return read.error().code.starts_with("json_") ? rename(read.error())
                                                  : tl::unexpected(read.error());
  }
  FP_TRY(check_root(root));
  return root;
}

}  // namespace fieldprint
