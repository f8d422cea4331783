#include "provenance/statement.h"

#include <algorithm>

#include "codec/canonical_json.h"
#include "codec/utf8.h"
#include "core/check.h"
#include "crypto/sha256.h"

namespace fieldprint {
namespace {

constexpr const char* kStatementUri = "https://in-toto.io/Statement/v1";
constexpr std::size_t kNonceDigits = 32;
constexpr std::size_t kDigestBytes = 7 + 64;
constexpr std::size_t kUriBytes = 256;
constexpr StatementType kTypes[] = {StatementType::kPromotion, StatementType::kRevocation,
                                    StatementType::kOverride};

tl::unexpected<Error> invalid(const std::string& what, const char* param) {
  return fail(ErrorKind::kInvalid, "statement_field_invalid", what, param);
}

// Errors of the JSON layer under the names this format promises.
tl::unexpected<Error> rename(const Error& error) {
  if (error.code == "json_too_large") {
    return fail(ErrorKind::kTooLarge, "statement_too_large", error.message, error.param);
  }
  if (error.code == "json_unknown_field") {
    return fail(ErrorKind::kUnsupported, "statement_unknown_field", error.message, error.param);
  }
  return fail(ErrorKind::kCorrupt, "statement_corrupt", "statement: " + error.message, error.param);
}

bool is_line(std::string_view text) {
  const auto printable = [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7F; };
  return utf8_valid(text) && std::ranges::all_of(text, printable);
}

bool is_hex(std::string_view text) {
  return std::ranges::all_of(
      text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_time(std::int64_t seconds) { return seconds >= 0 && seconds <= kTimeMax; }

Status check_common(const Statement& s) {
  if (s.subject_name.empty() || s.subject_name.size() > kStatementMaxName ||
      !is_line(s.subject_name)) {
    return invalid("the subject's name is 1 to 128 bytes of UTF-8 without control characters",
                   "subject.name");
  }
  if (!is_digest_text(s.subject_digest)) {
    return invalid("the subject's digest is sha256:<64 hex digits>", "subject.digest");
  }
  FP_TRY(check_scope(s.scope));
  if (!is_time(s.issued_at)) return invalid("issued_at is out of range", "issued_at");
  if (s.evidence.size() > kStatementMaxEvidence ||
      !std::ranges::all_of(s.evidence, is_digest_text)) {
    return invalid("evidence is at most 32 digests, each sha256:<64 hex digits>", "evidence");
  }
  if (s.reason.size() > kStatementMaxReason || !is_line(s.reason)) {
    return invalid("the reason is one line of at most 512 bytes", "reason");
  }
  return {};
}

Status check_window(const Statement& s) {
  const TimeWindow& window = s.window;
  if (s.type == StatementType::kRevocation) {
    if (window.not_before == 0 && window.not_after == 0) return {};
    return invalid("a revocation has no window: it never ends", "window");
  }
  if (!is_time(window.not_before) || !is_time(window.not_after) ||
      window.not_after <= window.not_before) {
    return invalid("not_after must lie behind not_before", "not_after");
  }
  if (s.type == StatementType::kOverride &&
      window.not_after - window.not_before > kOverrideMaxSeconds) {
    return invalid("an override is good for at most 7 days", "not_after");
  }
  return {};
}

Status check_place_in_line(const Statement& s) {
  if (s.type == StatementType::kOverride) {
    if (s.sequence == 0 && s.previous.empty()) return {};
    return invalid("an override has a nonce, not a sequence", "sequence");
  }
  if (s.sequence < 1 || s.sequence > kJsonIntegerMax) {
    return invalid("sequence starts at 1", "sequence");
  }
  const bool first = s.sequence == 1;
  if (first ? !s.previous.empty() : !is_digest_text(s.previous)) {
    return invalid(first ? "the first statement of a line has no previous one"
                         : "previous is the digest of the statement before this one",
                   "previous");
  }
  return {};
}

Status check_override_terms(const Statement& s) {
  if (s.type != StatementType::kOverride) {
    if (s.nonce.empty() && s.request.session.empty() && s.request.request_digest.empty()) return {};
    return invalid("only an override has a nonce and a request scope", "nonce");
  }
  if (s.nonce.size() != kNonceDigits || !is_hex(s.nonce)) {
    return invalid("a nonce is 32 lower-case hexadecimal digits", "nonce");
  }
  if (s.request.session.size() > kSessionMaxBytes || !is_line(s.request.session)) {
    return invalid("request.session is one line of at most 128 bytes", "request.session");
  }
  if (!s.request.request_digest.empty() && !is_digest_text(s.request.request_digest)) {
    return invalid("request.digest is empty or sha256:<64 hex digits>", "request.digest");
  }
  return {};
}

CanonicalValue predicate_value(const Statement& s) {
  CanonicalValue::Array evidence;
  for (const std::string& digest : s.evidence) evidence.emplace_back(digest);
  CanonicalValue::Object fields{
      {"evidence", std::move(evidence)},
      {"issued_at", s.issued_at},
      {"reason", s.reason},
      {"scope",
       CanonicalValue::Object{{"model_digest", s.scope.model_digest}, {"tenant", s.scope.tenant}}},
  };
  if (s.type != StatementType::kRevocation) {
    fields.emplace("not_after", s.window.not_after);
    fields.emplace("not_before", s.window.not_before);
  }
  if (s.type != StatementType::kOverride) {
    fields.emplace("previous", s.previous);
    fields.emplace("sequence", s.sequence);
  } else {
    fields.emplace("nonce", s.nonce);
    fields.emplace("request", CanonicalValue::Object{{"digest", s.request.request_digest},
                                                     {"session", s.request.session}});
  }
  return fields;
}

// The _type and predicateType, before anything else: a foreign statement may have any shape.
Result<StatementType> type_of(const CanonicalValue& root) {
  const auto unknown = [](const std::string& what) {
    return fail(ErrorKind::kUnsupported, "statement_type_unknown", what, "predicateType");
  };
  const auto text = [&root](const char* name) -> const std::string* {
    if (root.object() == nullptr) return nullptr;
    const auto found = root.object()->find(name);
    return found == root.object()->end() ? nullptr : found->second.string();
  };
  const auto shown = [](const std::string* value) {
    return value == nullptr ? std::string("(none)") : "'" + value->substr(0, kUriBytes) + "'";
  };
  const std::string* const statement = text("_type");
  if (statement == nullptr || *statement != kStatementUri) {
    return unknown("_type is " + shown(statement) + ", not '" + kStatementUri + "'");
  }
  const std::string* const predicate = text("predicateType");
  for (const StatementType type : kTypes) {
    if (predicate != nullptr && *predicate == predicate_type_uri(type)) return type;
  }
  return unknown("predicate type " + shown(predicate) +
                 " is unknown to this build, so nothing it says is believed");
}

Status read_subject(const CanonicalValue::Array& subjects, Statement& s) {
  if (subjects.size() != 1) return invalid("a statement has exactly one subject", "subject");
  FieldReader fields(subjects[0], "subject[0]");
  s.subject_name = fields.string("name", kStatementMaxName);
  const CanonicalValue& digest = fields.object("digest");
  FP_TRY(fields.finish());
  FieldReader digests(digest, "subject[0].digest");
  s.subject_digest = "sha256:" + digests.string("sha256", kDigestBytes);
  return digests.finish();
}

Status read_evidence(const CanonicalValue::Array& items, Statement& s) {
  for (const CanonicalValue& item : items) {
    if (item.string() == nullptr) return invalid("evidence holds digests", "evidence");
    s.evidence.push_back(*item.string());
  }
  return {};
}

Status read_predicate(const CanonicalValue& value, Statement& s) {
  FieldReader fields(value, "predicate");
  FP_TRY(read_evidence(fields.array("evidence", kStatementMaxEvidence), s));
  s.issued_at = fields.integer("issued_at", 0, kTimeMax);
  s.reason = fields.string("reason", kStatementMaxReason);
  FieldReader scope(fields.object("scope"), "predicate.scope");
  if (s.type != StatementType::kRevocation) {
    s.window.not_before = fields.integer("not_before", 0, kTimeMax);
    s.window.not_after = fields.integer("not_after", 0, kTimeMax);
  }
  if (s.type != StatementType::kOverride) {
    s.sequence = fields.integer("sequence", 1, kJsonIntegerMax);
    s.previous = fields.string("previous", kDigestBytes);
    FP_TRY(fields.finish());
  } else {
    s.nonce = fields.string("nonce", kNonceDigits);
    FieldReader request(fields.object("request"), "predicate.request");
    FP_TRY(fields.finish());
    s.request.request_digest = request.string("digest", kDigestBytes);
    s.request.session = request.string("session", kSessionMaxBytes);
    FP_TRY(request.finish());
  }
  s.scope.model_digest = scope.string("model_digest", kDigestBytes);
  s.scope.tenant = scope.string("tenant", kTenantMaxBytes);
  return scope.finish();
}

Status read_statement(const CanonicalValue& root, Statement& s) {
  FieldReader fields(root, "statement");
  (void)fields.string("_type", kUriBytes);  // read by type_of
  (void)fields.string("predicateType", kUriBytes);
  const CanonicalValue::Array& subjects = fields.array("subject", kStatementMaxValues);
  const CanonicalValue& predicate = fields.object("predicate");
  FP_TRY(fields.finish());
  FP_TRY(read_subject(subjects, s));
  return read_predicate(predicate, s);
}

}  // namespace

const char* statement_type_name(StatementType type) {
  switch (type) {
    case StatementType::kPromotion:
      return "promotion";
    case StatementType::kRevocation:
      return "revocation";
    case StatementType::kOverride:
      return "override";
  }
  FP_UNREACHABLE();
}

const char* predicate_type_uri(StatementType type) {
  switch (type) {
    case StatementType::kPromotion:
      return "https://fieldprint/promotion/v1";
    case StatementType::kRevocation:
      return "https://fieldprint/revocation/v1";
    case StatementType::kOverride:
      return "https://fieldprint/override/v1";
  }
  FP_UNREACHABLE();
}

Status check_statement(const Statement& statement) {
  FP_TRY(check_common(statement));
  FP_TRY(check_window(statement));
  FP_TRY(check_place_in_line(statement));
  return check_override_terms(statement);
}

Result<std::string> print_statement(const Statement& statement) {
  FP_TRY(check_statement(statement));
  const CanonicalValue root(CanonicalValue::Object{
      {"_type", kStatementUri},
      {"predicate", predicate_value(statement)},
      {"predicateType", predicate_type_uri(statement.type)},
      {"subject",
       CanonicalValue::Array{CanonicalValue::Object{
           {"digest", CanonicalValue::Object{{"sha256", statement.subject_digest.substr(7)}}},
           {"name", statement.subject_name}}}},
  });
  Result<std::string> text = canonical_print(root);
  if (!text) return rename(text.error());
  if (text->size() > kStatementMaxBytes) {
    return fail(ErrorKind::kTooLarge, "statement_too_large",
                "the statement has " + std::to_string(text->size()) + " bytes, at most " +
                    std::to_string(kStatementMaxBytes) + " are allowed");
  }
  return text;
}

Result<Statement> parse_statement(std::string_view payload) {
  JsonLimits limits{.max_bytes = kStatementMaxBytes,
                    .max_values = kStatementMaxValues,
                    .max_depth = kStatementMaxDepth,
                    .literals = JsonLiterals::kKeep};
  // Types first, so that a foreign statement is refused by its name, not by its spelling.
  const Result<CanonicalValue> loose = json_parse(payload, limits);
  if (!loose) return rename(loose.error());
  Statement statement;
  FP_ASSIGN(statement.type, type_of(*loose));
  limits.literals = JsonLiterals::kRefuse;
  const Result<CanonicalValue> root = canonical_parse(payload, limits);
  if (!root) return rename(root.error());
  if (const Status read = read_statement(*root, statement); !read) {
    return read.error().code.starts_with("json_") ? rename(read.error())
                                                  : tl::unexpected(read.error());
  }
  FP_TRY(check_statement(statement));
  return statement;
}

std::string statement_digest(std::string_view payload) { return digest_string(sha256(payload)); }

}  // namespace fieldprint
