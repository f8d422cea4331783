#include "api/unsupported.h"

#include <nlohmann/json.hpp>
#include <string>

namespace fieldprint {
namespace {

using nlohmann::json;

// Which value of the field changes nothing and is therefore accepted.
enum class Harmless : std::uint8_t {
  kNothing,   // only absence (or null)
  kEmpty,     // [], {} or ""
  kFalse,     //
  kTrue,      //
  kZero,      //
  kNone,      // the string "none"
  kTextOnly,  // ["text"]
  kTextType,  // {"type":"text"}
};

struct Rule {
  const char* name;
  Harmless harmless;
  const char* message;
};

constexpr const char* kNoTools = "is not supported yet: this server does not call tools";
constexpr const char* kNoGrammar = "is not supported yet: output cannot be constrained";
constexpr const char* kNoSampler = "is not supported: this sampler does not exist here";

constexpr Rule kBoth[] = {
    {"response_format", Harmless::kTextType, kNoGrammar},
    {"grammar", Harmless::kEmpty, kNoGrammar},
    {"json_schema", Harmless::kEmpty, kNoGrammar},
    {"structured_outputs", Harmless::kEmpty, kNoGrammar},
    {"guided_json", Harmless::kEmpty, kNoGrammar},
    {"guided_regex", Harmless::kEmpty, kNoGrammar},
    {"guided_choice", Harmless::kEmpty, kNoGrammar},
    {"guided_grammar", Harmless::kEmpty, kNoGrammar},
    {"use_beam_search", Harmless::kFalse, kNoSampler},
    {"typical_p", Harmless::kNothing, kNoSampler},
    {"mirostat", Harmless::kZero, kNoSampler},
    {"dry_multiplier", Harmless::kZero, kNoSampler},
    {"xtc_probability", Harmless::kZero, kNoSampler},
    {"length_penalty", Harmless::kNothing, kNoSampler},
    {"min_tokens", Harmless::kZero, "is not supported yet"},
    {"stop_token_ids", Harmless::kEmpty, "is not supported yet: use stop"},
    {"bad_words", Harmless::kEmpty, "is not supported: use logit_bias"},
    {"prompt_logprobs", Harmless::kNothing, "is not supported yet"},
    {"truncate_prompt_tokens", Harmless::kNothing,
     "is not supported: a prompt is never cut in silence"},
    {"lora", Harmless::kEmpty, "is not supported: this server loads no adapters"},
    {"kv_transfer_params", Harmless::kEmpty,
     "is not supported: KV rows of another machine have no provenance here"},
};

constexpr Rule kChat[] = {
    {"tools", Harmless::kEmpty, kNoTools},
    {"tool_choice", Harmless::kNone, kNoTools},
    {"functions", Harmless::kEmpty, kNoTools},
    {"function_call", Harmless::kNone, kNoTools},
    {"audio", Harmless::kNothing, "is not supported: text only"},
    {"modalities", Harmless::kTextOnly, "may only be [\"text\"]"},
    {"web_search_options", Harmless::kNothing, "is not supported: this server has no network"},
    {"chat_template", Harmless::kEmpty, "is not supported: the server chooses the template"},
    {"chat_template_kwargs", Harmless::kEmpty, "is not supported yet"},
    {"documents", Harmless::kEmpty, "is not supported yet"},
    {"add_generation_prompt", Harmless::kTrue, "may only be true"},
    {"continue_final_message", Harmless::kFalse, "is not supported yet"},
    {"echo", Harmless::kFalse, "is not supported yet"},
};

constexpr Rule kCompletion[] = {
    {"suffix", Harmless::kEmpty, "is not supported: no fill-in-the-middle"},
    {"echo", Harmless::kFalse, "is not supported yet"},
    {"prompt_embeds", Harmless::kNothing, "is not supported"},
};

bool is_harmless(const json& value, Harmless harmless) {
  switch (harmless) {
    case Harmless::kNothing:
      return false;
    case Harmless::kEmpty:
      return (value.is_structured() && value.empty()) ||
             (value.is_string() && value.get_ref<const std::string&>().empty());
    case Harmless::kFalse:
      return value == false;
    case Harmless::kTrue:
      return value == true;
    case Harmless::kZero:
      return value.is_number() && value.get<double>() == 0.0;
    case Harmless::kNone:
      return value == "none";
    case Harmless::kTextOnly:
      return value == json::array({"text"});
    case Harmless::kTextType:
      return value.is_object() && value.size() == 1 && value.contains("type") &&
             value["type"] == "text";
  }
  return false;
}

template <std::size_t N>
Status apply(BodyReader& fields, const Rule (&rules)[N]) {
  for (const Rule& rule : rules) {
    const json* value = fields.find(rule.name);
    if (value != nullptr && !is_harmless(*value, rule.harmless)) {
      return field_unsupported(fields.param(rule.name), rule.message);
    }
  }
  return {};
}

}  // namespace

Status refuse_unsupported(BodyReader& fields, Endpoint endpoint) {
  FP_TRY(apply(fields, kBoth));
  switch (endpoint) {
    case Endpoint::kChat:
      return apply(fields, kChat);
    case Endpoint::kCompletion:
      return apply(fields, kCompletion);
  }
  return {};
}

}  // namespace fieldprint
