// The fields of a receipt's payload: printer, parser and their rules.
#include <algorithm>
#include <charconv>

#include "codec/canonical_json.h"
#include "codec/hex.h"
#include "crypto/sha256.h"
#include "ledger/receipt.h"
#include "ledger/receipt_supervision.h"

namespace fieldprint {
namespace {

using Object = CanonicalValue::Object;

constexpr const char* kFormat = "fieldprint-receipt/v1";
constexpr std::size_t kNumberText = 32;
constexpr std::size_t kNameText = 512;
constexpr std::int64_t kTimeMax = 253402300799;  // last second of the year 9999
constexpr std::int64_t kPpm = 1'000'000;
// A mean of masses that each sum to 1 may round over it.
constexpr std::int64_t kMassMax = kPpm + 100;
constexpr std::size_t kMaxClasses = 8;

bool is_number(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && std::abs(value) < 1e9;
}

Status check_choices(const Receipt& receipt) {
  if (receipt.choices.empty() || receipt.choices.size() > kReceiptMaxChoices) {
    return bad_receipt_field("choices", "must be 1 to 16");
  }
  for (const ReceiptChoice& choice : receipt.choices) {
    if (!parse_digest(choice.text_digest))
      return bad_receipt_field("choices.text", "must be a digest");
    if (!parse_digest(choice.tokens_digest))
      return bad_receipt_field("choices.ids", "must be a digest");
    if (!is_name(choice.finish, 32)) return bad_receipt_field("choices.finish", "must be a name");
    if (choice.tokens < 0) return bad_receipt_field("choices.tokens", "must not be negative");
    FP_TRY(check_receipt_supervision(choice.supervision));
  }
  return {};
}

Status check_anchor(const ReceiptAnchor& anchor) {
  if (anchor.digests.empty() || anchor.digests.size() > kReceiptMaxAnchors ||
      !std::ranges::all_of(anchor.digests, is_receipt_digest)) {
    return bad_receipt_field("anchor.digests", "must be 1 to 16 digests or \"none\"");
  }
  for (const char* mode : {kReceiptNone, "joint", "gated", "floored"}) {
    if (anchor.mode != mode) continue;
    if (!is_receipt_digest(anchor.promotion)) {
      return bad_receipt_field("anchor.promotion", "must be a digest or \"none\"");
    }
    for (const std::string* number : {&anchor.gamma, &anchor.psi, &anchor.beta}) {
      if (!is_number(*number))
        return bad_receipt_field("anchor", "holds a strength that is no number");
    }
    return {};
  }
  return bad_receipt_field("anchor.mode", "must be joint, gated, floored or none");
}

Status check_sampler(const ReceiptSampler& sampler) {
  for (const std::string* number :
       {&sampler.temperature, &sampler.top_p, &sampler.min_p, &sampler.repetition_penalty,
        &sampler.presence_penalty, &sampler.frequency_penalty}) {
    if (!is_number(*number)) return bad_receipt_field("sampler", "holds a value that is no number");
  }
  return {};
}

Status check_receipt(const Receipt& receipt) {
  if (!is_receipt_id(receipt.id)) return bad_receipt_field("id", "must be fpr- and 32 hex digits");
  if (receipt.origin.empty()) return bad_receipt_field("origin", "must not be empty");
  if (!parse_digest(receipt.request_digest))
    return bad_receipt_field("request.digest", "must be a digest");
  if (!is_name(receipt.endpoint, 128))
    return bad_receipt_field("request.endpoint", "must be a path");
  if (!is_name(receipt.response_id, 128)) return bad_receipt_field("response", "must be an id");
  if (!parse_digest(receipt.model_digest)) return bad_receipt_field("model", "must be a digest");
  if (!is_receipt_digest(receipt.template_digest)) {
    return bad_receipt_field("template", "must be a digest or \"none\"");
  }
  if (!is_receipt_digest(receipt.override_digest)) {
    return bad_receipt_field("override", "must be a digest or \"none\"");
  }
  if (receipt.mass_ppm.size() > kMaxClasses)
    return bad_receipt_field("mass_ppm", "has over 8 classes");
  for (const auto& [name, ppm] : receipt.mass_ppm) {
    if (!is_name(name, 16) || ppm < 0 || ppm > kMassMax) {
      return bad_receipt_field("mass_ppm", "must map classes to 0 to 1000000");
    }
  }
  FP_TRY(check_choices(receipt));
  FP_TRY(check_anchor(receipt.anchor));
  return check_sampler(receipt.sampler);
}

CanonicalValue choices_value(const std::vector<ReceiptChoice>& choices) {
  CanonicalValue::Array list;
  for (const ReceiptChoice& choice : choices) {
    list.emplace_back(Object{{"finish", choice.finish},
                             {"ids", choice.tokens_digest},
                             {"seed", std::to_string(choice.seed)},
                             {"supervision", receipt_supervision_value(choice.supervision)},
                             {"text", choice.text_digest},
                             {"tokens", choice.tokens}});
  }
  return list;
}

CanonicalValue anchor_value(const ReceiptAnchor& anchor) {
  CanonicalValue::Array digests;
  for (const std::string& digest : anchor.digests) digests.emplace_back(digest);
  return Object{{"beta", anchor.beta},           {"digests", std::move(digests)},
                {"gamma", anchor.gamma},         {"insecure", anchor.insecure},
                {"mode", anchor.mode},           {"policy_epoch", anchor.policy_epoch},
                {"promotion", anchor.promotion}, {"psi", anchor.psi}};
}

CanonicalValue sampler_value(const ReceiptSampler& sampler) {
  return Object{{"frequency_penalty", sampler.frequency_penalty},
                {"logit_bias", sampler.logit_bias},
                {"max_tokens", sampler.max_tokens},
                {"min_p", sampler.min_p},
                {"presence_penalty", sampler.presence_penalty},
                {"repetition_penalty", sampler.repetition_penalty},
                {"temperature", sampler.temperature},
                {"top_k", sampler.top_k},
                {"top_p", sampler.top_p}};
}

CanonicalValue tokens_value(const ReceiptTokens& tokens) {
  return Object{{"anchor", tokens.anchor},
                {"cached", tokens.cached},
                {"completion", tokens.completion},
                {"dropped", tokens.dropped},
                {"prompt", tokens.prompt}};
}

Status read_choice(const CanonicalValue& value, std::vector<ReceiptChoice>& choices) {
  FieldReader fields(value, "receipt.choices");
  ReceiptChoice choice;
  choice.finish = fields.string("finish", 32);
  choice.tokens_digest = fields.string("ids", kReceiptDigestText);
  const std::string seed = fields.string("seed", 20);
  const CanonicalValue& supervision = fields.object("supervision");
  choice.text_digest = fields.string("text", kReceiptDigestText);
  choice.tokens = fields.integer("tokens", 0, kReceiptCountMax);
  FP_TRY(fields.finish());
  const auto [end, error] = std::from_chars(seed.data(), seed.data() + seed.size(), choice.seed);
  const bool canonical = error == std::errc() && std::to_string(choice.seed) == seed;
  if (!canonical) return bad_receipt_field("choices.seed", "must be a decimal number");
  FP_ASSIGN(choice.supervision, read_receipt_supervision(supervision));
  choices.push_back(std::move(choice));
  return {};
}

Status read_anchor(const CanonicalValue& value, ReceiptAnchor& anchor) {
  FieldReader fields(value, "receipt.anchor");
  anchor.beta = fields.string("beta", kNumberText);
  anchor.digests.clear();
  for (const CanonicalValue& digest : fields.array("digests", kReceiptMaxAnchors)) {
    anchor.digests.push_back(digest.string() == nullptr ? "" : *digest.string());
  }
  anchor.gamma = fields.string("gamma", kNumberText);
  anchor.insecure = fields.integer("insecure", 0, 1);
  anchor.mode = fields.string("mode", 16);
  anchor.policy_epoch = fields.integer("policy_epoch", 0, kJsonIntegerMax);
  anchor.promotion = fields.string("promotion", kReceiptDigestText);
  anchor.psi = fields.string("psi", kNumberText);
  return fields.finish();
}

Status read_sampler(const CanonicalValue& value, ReceiptSampler& sampler) {
  FieldReader fields(value, "receipt.sampler");
  sampler.frequency_penalty = fields.string("frequency_penalty", kNumberText);
  sampler.logit_bias = fields.integer("logit_bias", 0, kReceiptCountMax);
  sampler.max_tokens = fields.integer("max_tokens", -1, kReceiptCountMax);
  sampler.min_p = fields.string("min_p", kNumberText);
  sampler.presence_penalty = fields.string("presence_penalty", kNumberText);
  sampler.repetition_penalty = fields.string("repetition_penalty", kNumberText);
  sampler.temperature = fields.string("temperature", kNumberText);
  sampler.top_k = fields.integer("top_k", 0, kReceiptCountMax);
  sampler.top_p = fields.string("top_p", kNumberText);
  return fields.finish();
}

Status read_tokens(const CanonicalValue& value, ReceiptTokens& tokens) {
  FieldReader fields(value, "receipt.tokens");
  tokens.anchor = fields.integer("anchor", 0, kReceiptCountMax);
  tokens.cached = fields.integer("cached", 0, kReceiptCountMax);
  tokens.completion = fields.integer("completion", 0, kReceiptCountMax);
  tokens.dropped = fields.integer("dropped", 0, kReceiptCountMax);
  tokens.prompt = fields.integer("prompt", 0, kReceiptCountMax);
  return fields.finish();
}

Status read_request(const CanonicalValue& value, Receipt& receipt) {
  FieldReader fields(value, "receipt.request");
  receipt.request_digest = fields.string("digest", kReceiptDigestText);
  receipt.endpoint = fields.string("endpoint", 128);
  return fields.finish();
}

Status read_salt(const std::string& text, ReceiptSalt& salt) {
  const auto bytes = hex_decode(text);
  if (!bytes || bytes->size() != salt.size())
    return bad_receipt_field("salt", "must be 64 hex digits");
  std::ranges::copy(*bytes, salt.begin());
  return {};
}

Status read_mass(const CanonicalValue& value, std::map<std::string, std::int64_t>& mass) {
  for (const auto& [name, ppm] : *value.object()) {
    if (ppm.integer() == nullptr) return bad_receipt_field("mass_ppm", "must hold integers");
    mass.emplace(name, *ppm.integer());
  }
  return {};
}

// The codes of the JSON layer become those of this format.
Error as_receipt_error(Error error) {
  if (!error.code.starts_with("json_")) return error;
  if (error.code == "json_unknown_field") {
    error.code = "receipt_unknown_field";
  } else if (error.code == "json_too_large") {
    error.code = "receipt_too_large";
  } else {
    error.code = "receipt_corrupt";
  }
  error.message = "receipt: " + error.message;
  return error;
}

Result<Receipt> read_receipt(const CanonicalValue& value) {
  Receipt receipt;
  FieldReader fields(value, "receipt");
  const std::string format = fields.string("format", 64);
  const CanonicalValue& anchor = fields.object("anchor");
  receipt.build = fields.string("build", kNameText);
  const CanonicalValue::Array& choices = fields.array("choices", kReceiptMaxChoices);
  receipt.id = fields.string("id", 64);
  receipt.issued_at = fields.integer("issued_at", 0, kTimeMax);
  const CanonicalValue& mass = fields.object("mass_ppm");
  receipt.model_digest = fields.string("model", kReceiptDigestText);
  receipt.numeric_profile = fields.string("numeric_profile", kNameText);
  receipt.origin = fields.string("origin", kMaxKeyName);
  receipt.override_digest = fields.string("override", kReceiptDigestText);
  const CanonicalValue& request = fields.object("request");
  receipt.response_id = fields.string("response", 128);
  const std::string salt = fields.string("salt", 2 * kReceiptSaltBytes);
  const CanonicalValue& sampler = fields.object("sampler");
  receipt.template_digest = fields.string("template", kReceiptDigestText);
  const CanonicalValue& tokens = fields.object("tokens");
  FP_TRY(fields.finish());
  if (format != kFormat) return bad_receipt_field("format", "'" + format + "' is not known");
  for (const CanonicalValue& choice : choices) FP_TRY(read_choice(choice, receipt.choices));
  FP_TRY(read_anchor(anchor, receipt.anchor));
  FP_TRY(read_request(request, receipt));
  FP_TRY(read_salt(salt, receipt.salt));
  FP_TRY(read_sampler(sampler, receipt.sampler));
  FP_TRY(read_tokens(tokens, receipt.tokens));
  FP_TRY(read_mass(mass, receipt.mass_ppm));
  FP_TRY(check_receipt(receipt));
  return receipt;
}

}  // namespace

Result<std::string> print_receipt(const Receipt& receipt) {
  FP_TRY(check_receipt(receipt));
  Object mass;
  for (const auto& [name, ppm] : receipt.mass_ppm) mass.emplace(name, ppm);
  Object object = {
      {"anchor", anchor_value(receipt.anchor)},
      {"build", receipt.build},
      {"choices", choices_value(receipt.choices)},
      {"format", kFormat},
      {"id", receipt.id},
      {"issued_at", receipt.issued_at},
      {"mass_ppm", std::move(mass)},
      {"model", receipt.model_digest},
      {"numeric_profile", receipt.numeric_profile},
      {"origin", receipt.origin},
      {"override", receipt.override_digest},
      {"request", Object{{"digest", receipt.request_digest}, {"endpoint", receipt.endpoint}}},
      {"response", receipt.response_id},
      {"salt", hex_encode(receipt.salt)},
      {"sampler", sampler_value(receipt.sampler)},
      {"template", receipt.template_digest},
      {"tokens", tokens_value(receipt.tokens)},
  };
  Result<std::string> text = canonical_print(std::move(object));
  if (!text) return bad_receipt_field("a field", "cannot be printed: " + text.error().message);
  // What the parser refuses must not be signed.
  const Result<Receipt> read_back = parse_receipt(*text);
  if (!read_back) return tl::unexpected(read_back.error());
  return text;
}

Result<Receipt> parse_receipt(std::string_view payload) {
  const JsonLimits limits{.max_bytes = kReceiptMaxBytes, .max_values = 4096, .max_depth = 7};
  const Result<CanonicalValue> value = canonical_parse(payload, limits);
  if (!value) return tl::unexpected(as_receipt_error(value.error()));
  if (value->object() == nullptr) {
    return fail(ErrorKind::kInvalid, "receipt_corrupt", "receipt: not one JSON object");
  }
  Result<Receipt> receipt = read_receipt(*value);
  if (!receipt) return tl::unexpected(as_receipt_error(receipt.error()));
  return receipt;
}

}  // namespace fieldprint
