#include <utility>

#include "api/print_json.h"
#include "api/response.h"

namespace fieldprint {
namespace {

// Characters (code points) of well-formed UTF-8.
std::size_t count_characters(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  return count;
}

class CompletionPrinter final : public ResponsePrinter {
 public:
  CompletionPrinter(ResponseHead head, const RequestBase& base)
      : head_(std::move(head)),
        logprobs_(base.sampling.logprobs >= 0),
        null_usage_(base.stream_usage == StreamUsage::kOn),
        offsets_(static_cast<std::size_t>(base.choices), 0) {}

  std::string whole(std::span<const ChoiceResult> choices, const Evidence& evidence) override {
    OrderedJson list = OrderedJson::array();
    for (const ChoiceResult& choice : choices) {
      std::size_t offset = 0;
      OrderedJson logprobs = logprobs_json(choice.logprobs, offset);
      list.push_back({{"index", list.size()},
                      {"text", choice.text},
                      {"logprobs", std::move(logprobs)},
                      {"finish_reason", finish_reason_name(choice.reason)}});
    }
    OrderedJson body = head_json();
    body["choices"] = std::move(list);
    body["usage"] = usage_json(evidence.usage);
    body["fieldprint"] = evidence_json(evidence);
    return dump_json(body);
  }

  std::optional<std::string> opening(std::int32_t /*choice*/) override { return std::nullopt; }

  std::string delta(const DeltaEvent& event) override {
    std::size_t& offset = offsets_.at(static_cast<std::size_t>(event.choice));
    return chunk(event.choice, event.text, logprobs_json(event.logprobs, offset), nullptr, nullptr);
  }

  std::string rollback(const RollbackEvent& event, std::uint32_t ordinal) override {
    offsets_.at(static_cast<std::size_t>(event.choice)) = event.text_characters;
    OrderedJson body = head_json();
    body["choices"] = OrderedJson::array();
    if (null_usage_) body["usage"] = nullptr;
    body["fieldprint"] = {{"rollback", rollback_event_json(event, ordinal)}};
    return dump_json(body);
  }

  std::string finish(const ChoiceDoneEvent& event, const Evidence* evidence) override {
    return chunk(event.choice, "", nullptr, finish_reason_name(event.reason), evidence);
  }

  std::string usage(const UsageReport& usage) override {
    OrderedJson body = head_json();
    body["choices"] = OrderedJson::array();
    body["usage"] = usage_json(usage);
    return dump_json(body);
  }

 private:
  // Both the whole response and its chunks are "text_completion".
  OrderedJson head_json() const {
    return {{"id", head_.id},
            {"object", "text_completion"},
            {"created", head_.created},
            {"model", head_.model},
            {"system_fingerprint", head_.system_fingerprint}};
  }

  // The legacy shape: parallel arrays. `offset` counts characters before the first
  // token and is moved past the last one.
  OrderedJson logprobs_json(std::span<const TokenLogprob> tokens, std::size_t& offset) const {
    if (!logprobs_) return nullptr;
    OrderedJson names = OrderedJson::array();
    OrderedJson values = OrderedJson::array();
    OrderedJson tops = OrderedJson::array();
    OrderedJson offsets = OrderedJson::array();
    for (const TokenLogprob& token : tokens) {
      OrderedJson top = OrderedJson::object();
      for (const auto& [candidate, logprob] : token.top) {
        top[candidate.second] = print_logprob(logprob);
      }
      names.push_back(token.bytes);
      values.push_back(print_logprob(token.logprob));
      tops.push_back(std::move(top));
      offsets.push_back(offset);
      offset += count_characters(token.bytes);
    }
    return {{"tokens", std::move(names)},
            {"token_logprobs", std::move(values)},
            {"top_logprobs", std::move(tops)},
            {"text_offset", std::move(offsets)}};
  }

  std::string chunk(std::int32_t choice, const std::string& text, OrderedJson logprobs,
                    OrderedJson reason, const Evidence* evidence) const {
    OrderedJson entry = {{"index", choice},
                         {"text", text},
                         {"logprobs", std::move(logprobs)},
                         {"finish_reason", std::move(reason)}};
    OrderedJson body = head_json();
    body["choices"] = OrderedJson::array({std::move(entry)});
    if (null_usage_) body["usage"] = nullptr;
    if (evidence != nullptr) body["fieldprint"] = evidence_json(*evidence);
    return dump_json(body);
  }

  ResponseHead head_;
  bool logprobs_;
  bool null_usage_;
  std::vector<std::size_t> offsets_;  // per choice, in characters
};

}  // namespace

std::unique_ptr<ResponsePrinter> make_completion_printer(ResponseHead head,
                                                         const RequestBase& base) {
  return std::make_unique<CompletionPrinter>(std::move(head), base);
}

}  // namespace fieldprint
