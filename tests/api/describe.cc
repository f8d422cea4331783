#include "api/describe.h"

#include <sstream>

namespace fieldprint::testing_api {
namespace {

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\0') {
      out += "\\0";
    } else {
      out += c;
    }
  }
  return out += '"';
}

template <typename T>
void line_unless(std::ostream& out, const char* name, const T& value, const T& plain) {
  if (value != plain) out << name << ' ' << value << '\n';
}

void list_tokens(std::ostream& out, const std::vector<TokenId>& tokens) {
  out << "tokens";
  for (const TokenId token : tokens) out << ' ' << token;
  out << '\n';
}

void list_sampling(std::ostream& out, const SamplingParams& sampling) {
  const SamplingParams plain;
  line_unless(out, "temperature", sampling.temperature, plain.temperature);
  line_unless(out, "top_k", sampling.top_k, plain.top_k);
  line_unless(out, "top_p", sampling.top_p, plain.top_p);
  line_unless(out, "min_p", sampling.min_p, plain.min_p);
  line_unless(out, "repetition_penalty", sampling.repetition_penalty, plain.repetition_penalty);
  line_unless(out, "presence_penalty", sampling.presence_penalty, plain.presence_penalty);
  line_unless(out, "frequency_penalty", sampling.frequency_penalty, plain.frequency_penalty);
  if (sampling.seed) out << "seed " << *sampling.seed << '\n';
  for (const auto& [token, bias] : sampling.logit_bias) {
    out << "bias " << token << ' ' << bias << '\n';
  }
  line_unless(out, "logprobs", sampling.logprobs, plain.logprobs);
}

void list_base(std::ostream& out, const RequestBase& base) {
  if (!base.model.empty()) out << "model " << base.model << '\n';
  list_sampling(out, base.sampling);
  line_unless(out, "max_tokens", base.max_tokens, -1);
  for (const std::string& stop : base.stop) out << "stop " << quoted(stop) << '\n';
  if (base.ignore_eos) out << "ignore_eos\n";
  line_unless(out, "n", base.choices, 1);
  if (base.streaming == Streaming::kOn) out << "stream\n";
  if (base.stream_usage == StreamUsage::kOn) out << "include_usage\n";
  if (!base.user.empty()) out << "user_label " << base.user << '\n';
  if (!base.cache_salt.empty()) out << "cache_salt " << base.cache_salt << '\n';
  if (!base.override_envelope.empty()) out << "override " << base.override_envelope << '\n';
  if (!base.session.empty()) out << "session " << base.session << '\n';
  if (base.release) out << "release " << release_choice_name(*base.release) << '\n';
  if (base.timeline == TimelineWanted::kOn) out << "timeline\n";
  for (const std::string& name : base.ignored_fields) out << "ignored " << name << '\n';
  if (base.ignored_count != base.ignored_fields.size()) {
    out << "ignored_count " << base.ignored_count << '\n';
  }
}

void list_messages(std::ostream& out, const std::vector<ChatMessage>& messages) {
  for (const ChatMessage& message : messages) {
    out << message.role << ": " << quoted(message.content) << '\n';
  }
}

}  // namespace

std::string describe(const ChatRequest& request) {
  std::ostringstream out;
  list_base(out, request.base);
  list_messages(out, request.messages);
  return out.str();
}

std::string describe(const CompletionRequest& request) {
  std::ostringstream out;
  list_base(out, request.base);
  if (const auto* text = std::get_if<std::string>(&request.prompt)) {
    out << "prompt " << quoted(*text) << '\n';
  } else {
    list_tokens(out, std::get<std::vector<TokenId>>(request.prompt));
  }
  return out.str();
}

std::string describe(const TokenizeRequest& request) {
  std::ostringstream out;
  if (!request.model.empty()) out << "model " << request.model << '\n';
  if (request.text) out << "text " << quoted(*request.text) << '\n';
  list_messages(out, request.messages);
  if (!request.add_special_tokens) out << "no special tokens\n";
  if (!request.add_generation_prompt) out << "no generation prompt\n";
  if (request.parse_special) out << "parse_special\n";
  if (request.return_token_strs) out << "return_token_strs\n";
  return out.str();
}

std::string describe(const DetokenizeRequest& request) {
  std::ostringstream out;
  if (!request.model.empty()) out << "model " << request.model << '\n';
  list_tokens(out, request.tokens);
  return out.str();
}

std::string describe(const Error& error) {
  std::ostringstream out;
  out << "error " << http_status(error) << ' ' << error.code;
  if (!error.param.empty()) out << ' ' << error.param;
  out << '\n' << error.message << '\n';
  return out.str();
}

}  // namespace fieldprint::testing_api
