// Reads the texts back out of a response body, for checking a receipt.
#include <nlohmann/json.hpp>

#include "api/json_body.h"
#include "api/response.h"

namespace fieldprint {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxResponseBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxChoices = 16;

tl::unexpected<Error> invalid(const std::string& what) {
  return fail(ErrorKind::kInvalid, "response_invalid", "not a response body: " + what);
}

// The text of one choice of a whole response or of one chunk; null: it adds nothing.
const json* text_of(const json& choice) {
  for (const char* holder : {"message", "delta"}) {
    const auto found = choice.find(holder);
    if (found == choice.end() || !found->is_object()) continue;
    const auto content = found->find("content");
    return content == found->end() || !content->is_string() ? nullptr : &*content;
  }
  const auto text = choice.find("text");
  return text == choice.end() || !text->is_string() ? nullptr : &*text;
}

Status add_choices(const json& body, std::vector<std::string>& texts) {
  const auto choices = body.find("choices");
  if (choices == body.end() || !choices->is_array()) return invalid("it has no choices");
  for (const json& choice : *choices) {
    if (!choice.is_object()) return invalid("a choice is not an object");
    const auto index = choice.find("index");
    if (index == choice.end() || !index->is_number_unsigned() ||
        index->get<std::uint64_t>() >= kMaxChoices) {
      return invalid("a choice has no index of 0 to 15");
    }
    const auto at = index->get<std::size_t>();
    if (texts.size() <= at) texts.resize(at + 1);
    if (const json* text = text_of(choice)) texts[at] += text->get_ref<const std::string&>();
  }
  return {};
}

// Takes back the text behind a rollback's place.
Status roll_back(const json& rollback, std::vector<std::string>& texts) {
  std::uint64_t places[2] = {};
  const char* names[2] = {"choice", "from_byte"};
  for (int i = 0; i < 2; ++i) {
    const auto found = rollback.find(names[i]);
    if (found == rollback.end() || !found->is_number_unsigned()) {
      return invalid("a rollback has no choice or no from_byte");
    }
    places[i] = found->get<std::uint64_t>();
  }
  const auto [choice, kept] = places;
  if (choice >= texts.size() || kept > texts[choice].size()) {
    return invalid("a rollback keeps more than there is");
  }
  texts[choice].resize(kept);
  return {};
}

// The rollback that a chunk of ours states; null: none.
const json* rollback_of(const json& body) {
  const auto block = body.find("fieldprint");
  if (block == body.end() || !block->is_object()) return nullptr;
  const auto rollback = block->find("rollback");
  return rollback == block->end() || !rollback->is_object() ? nullptr : &*rollback;
}

Status add_body(std::string_view text, const ApiLimits& limits, std::vector<std::string>& texts) {
  const Result<json> body = parse_json_body(text, limits);
  if (!body) return invalid(body.error().message);
  if (body->contains("error")) return invalid("it is an error");
  if (const json* rollback = rollback_of(*body)) return roll_back(*rollback, texts);
  return add_choices(*body, texts);
}

}  // namespace

Result<std::vector<std::string>> response_texts(std::string_view body) {
  constexpr std::string_view kData = "data:";
  ApiLimits limits;
  limits.body_bytes = kMaxResponseBytes;
  if (body.size() > kMaxResponseBytes) return invalid("it is over 64 MiB");
  std::vector<std::string> texts;
  const std::size_t first = body.find_first_not_of(" \r\n\t");
  if (first != std::string_view::npos && body[first] == '{') {
    FP_TRY(add_body(body, limits, texts));
  } else {
    while (!body.empty()) {
      const std::size_t end = std::min(body.find('\n'), body.size());
      std::string_view line = body.substr(0, end);
      body.remove_prefix(std::min(end + 1, body.size()));
      if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
      if (!line.starts_with(kData)) continue;
      line.remove_prefix(kData.size());
      if (line.find("[DONE]") != std::string_view::npos && line.find('{') == line.npos) continue;
      FP_TRY(add_body(line, limits, texts));
    }
  }
  if (texts.empty()) return invalid("it holds no choice");
  return texts;
}

}  // namespace fieldprint
