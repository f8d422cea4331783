#include <utility>

#include "api/print_json.h"
#include "api/response.h"

namespace fieldprint {
namespace {

OrderedJson bytes_json(const std::string& bytes) {
  OrderedJson out = OrderedJson::array();
  for (const char c : bytes) out.push_back(static_cast<unsigned>(static_cast<unsigned char>(c)));
  return out;
}

OrderedJson logprobs_json(std::span<const TokenLogprob> tokens) {
  OrderedJson content = OrderedJson::array();
  for (const TokenLogprob& token : tokens) {
    OrderedJson top = OrderedJson::array();
    for (const auto& [candidate, logprob] : token.top) {
      top.push_back({{"token", candidate.second},
                     {"logprob", print_logprob(logprob)},
                     {"bytes", bytes_json(candidate.second)}});
    }
    content.push_back({{"token", token.bytes},
                       {"logprob", print_logprob(token.logprob)},
                       {"bytes", bytes_json(token.bytes)},
                       {"top_logprobs", std::move(top)}});
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

class ChatPrinter final : public ResponsePrinter {
 public:
  ChatPrinter(ResponseHead head, const RequestBase& base)
      : head_(std::move(head)),
        logprobs_(base.sampling.logprobs >= 0),
        null_usage_(base.stream_usage == StreamUsage::kOn) {}

  std::string whole(std::span<const ChoiceResult> choices, const Evidence& evidence) override {
    OrderedJson list = OrderedJson::array();
    for (const ChoiceResult& choice : choices) {
      list.push_back(
          {{"index", list.size()},
           {"message", {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}}},
           {"logprobs", logprobs_ ? logprobs_json(choice.logprobs) : OrderedJson(nullptr)},
           {"finish_reason", finish_reason_name(choice.reason)}});
    }
    OrderedJson body = head_json("chat.completion");
    body["choices"] = std::move(list);
    body["usage"] = usage_json(evidence.usage);
    body["fieldprint"] = evidence_json(evidence);
    return dump_json(body);
  }

  std::optional<std::string> opening(std::int32_t choice) override {
    return chunk(choice, {{"role", "assistant"}, {"content", ""}}, nullptr, nullptr, nullptr);
  }

  std::string delta(const DeltaEvent& event) override {
    return chunk(event.choice, {{"content", event.text}},
                 logprobs_ ? logprobs_json(event.logprobs) : OrderedJson(nullptr), nullptr,
                 nullptr);
  }

  std::string rollback(const RollbackEvent& event, std::uint32_t ordinal) override {
    OrderedJson body = head_json("chat.completion.chunk");
    body["choices"] = OrderedJson::array();
    if (null_usage_) body["usage"] = nullptr;
    body["fieldprint"] = {{"rollback", rollback_event_json(event, ordinal)}};
    return dump_json(body);
  }

  std::string finish(const ChoiceDoneEvent& event, const Evidence* evidence) override {
    return chunk(event.choice, OrderedJson::object(), nullptr, finish_reason_name(event.reason),
                 evidence);
  }

  std::string usage(const UsageReport& usage) override {
    OrderedJson body = head_json("chat.completion.chunk");
    body["choices"] = OrderedJson::array();
    body["usage"] = usage_json(usage);
    return dump_json(body);
  }

 private:
  OrderedJson head_json(const char* object) const {
    return {{"id", head_.id},
            {"object", object},
            {"created", head_.created},
            {"model", head_.model},
            {"system_fingerprint", head_.system_fingerprint}};
  }

  std::string chunk(std::int32_t choice, OrderedJson delta, OrderedJson logprobs,
                    OrderedJson reason, const Evidence* evidence) const {
    OrderedJson entry = {{"index", choice},
                         {"delta", std::move(delta)},
                         {"logprobs", std::move(logprobs)},
                         {"finish_reason", std::move(reason)}};
    OrderedJson body = head_json("chat.completion.chunk");
    body["choices"] = OrderedJson::array({std::move(entry)});
    if (null_usage_) body["usage"] = nullptr;
    if (evidence != nullptr) body["fieldprint"] = evidence_json(*evidence);
    return dump_json(body);
  }

  ResponseHead head_;
  bool logprobs_;
  bool null_usage_;  // every chunk but the usage chunk says "usage": null
};

}  // namespace

std::unique_ptr<ResponsePrinter> make_chat_printer(ResponseHead head, const RequestBase& base) {
  return std::make_unique<ChatPrinter>(std::move(head), base);
}

}  // namespace fieldprint
