#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "api/response.h"
#include "crypto/sha256.h"

namespace fieldprint {
namespace {

using nlohmann::json;

ResponseHead head(const char* id) { return {id, 1700000000, "m", "fieldprint-0.1.0-abc"}; }

Evidence evidence() {
  Evidence out;
  out.anchor = AnchorInfo{"sha256:aa", "aria", "joint", "system", 12};
  out.usage.prompt_tokens = 5;
  out.usage.completion_tokens = 2;
  out.usage.cached_tokens = 4;
  out.usage.mass[static_cast<int>(KvClass::kSink)] = 0.25F;
  out.usage.mass[static_cast<int>(KvClass::kAnchor)] = 0.1F;
  out.usage.mass[static_cast<int>(KvClass::kUser)] = 0.65F;
  out.profile = "fast/test";
  out.seeds = {7, 1ULL << 53};
  out.ignored_fields = {"zeta"};
  out.ignored_count = 1;
  return out;
}

constexpr const char* kEvidence =
    R"("fieldprint":{"anchor":{"digest":"sha256:aa","name":"aria","mode":"joint","tokens":12,)"
    R"("trust":"insecure","promotion":null},)"
    R"("attention_mass":{"sink":0.25,"anchor":0.1,"system":0.0,"user":0.65,"tool":0.0,)"
    R"("memory":0.0,"output":0.0},"cached_tokens":4,"profile":"fast/test",)"
    R"("seeds":[7,"9007199254740992"],"ignored_fields":["zeta"],)"
    R"("override":null,"session":null,"supervision":null,"receipt":null,)"
    R"("prefill_seconds":0.0,"decode_seconds":0.0})";
constexpr const char* kUsage =
    R"("usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,)"
    R"("prompt_tokens_details":{"cached_tokens":4}})";

TEST(ChatPrinter, WholeResponse) {
  const auto printer = make_chat_printer(head("chatcmpl-1"), RequestBase{});
  const ChoiceResult choices[] = {{"Hi \"you\"\n", {}, FinishReason::kStop},
                                  {"", {}, FinishReason::kLength}};
  EXPECT_EQ(printer->whole(choices, evidence()),
            std::string(R"({"id":"chatcmpl-1","object":"chat.completion","created":1700000000,)"
                        R"("model":"m","system_fingerprint":"fieldprint-0.1.0-abc","choices":[)"
                        R"({"index":0,"message":{"role":"assistant","content":"Hi \"you\"\n",)"
                        R"("refusal":null},"logprobs":null,"finish_reason":"stop"},)"
                        R"({"index":1,"message":{"role":"assistant","content":"","refusal":null},)"
                        R"("logprobs":null,"finish_reason":"length"}],)") +
                kUsage + "," + kEvidence + "}");
}

TEST(ChatPrinter, Chunks) {
  RequestBase base;
  const auto printer = make_chat_printer(head("chatcmpl-1"), base);
  const std::string front =
      R"({"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,)"
      R"("model":"m","system_fingerprint":"fieldprint-0.1.0-abc",)";
  EXPECT_EQ(printer->opening(1).value(),
            front + R"("choices":[{"index":1,"delta":{"role":"assistant","content":""},)"
                    R"("logprobs":null,"finish_reason":null}]})");
  EXPECT_EQ(printer->delta({1, "é", {}}), front +
                                              R"("choices":[{"index":1,"delta":{"content":"é"},)"
                                              R"("logprobs":null,"finish_reason":null}]})");
  EXPECT_EQ(printer->finish({1, FinishReason::kLength, 9}, nullptr),
            front + R"("choices":[{"index":1,"delta":{},)"
                    R"("logprobs":null,"finish_reason":"length"}]})");
  const Evidence facts = evidence();
  EXPECT_EQ(printer->finish({0, FinishReason::kStop, 9}, &facts),
            front +
                R"("choices":[{"index":0,"delta":{},)"
                R"("logprobs":null,"finish_reason":"stop"}],)" +
                kEvidence + "}");
  EXPECT_EQ(printer->usage(facts.usage), front + R"("choices":[],)" + kUsage + "}");
}

TEST(ChatPrinter, ChunksSayNullUsageWhenUsageWillCome) {
  RequestBase base;
  base.stream_usage = StreamUsage::kOn;
  const auto printer = make_chat_printer(head("c"), base);
  for (const std::string& chunk :
       {printer->opening(0).value(), printer->delta({0, "a", {}}), printer->finish({}, nullptr)}) {
    const json parsed = json::parse(chunk);
    ASSERT_TRUE(parsed.contains("usage")) << chunk;
    EXPECT_TRUE(parsed["usage"].is_null()) << chunk;
  }
}

TokenLogprob half_letter() {
  TokenLogprob token{5, "\xC3", -0.5F, {}};
  token.top.push_back({{5, "\xC3"}, -0.5F});
  token.top.push_back({{6, "b"}, -std::numeric_limits<float>::infinity()});
  return token;
}

TEST(ChatPrinter, LogprobsCarryBytes) {
  RequestBase base;
  base.sampling.logprobs = 2;
  const auto printer = make_chat_printer(head("c"), base);
  const json chunk = json::parse(printer->delta({0, "x", {half_letter()}}));
  EXPECT_EQ(chunk["choices"][0]["logprobs"].dump(),
            R"({"content":[{"bytes":[195],"logprob":-0.5,"token":"�","top_logprobs":[)"
            R"({"bytes":[195],"logprob":-0.5,"token":"�"},)"
            R"({"bytes":[98],"logprob":-9999.0,"token":"b"}]}],"refusal":null})");
}

TEST(CompletionPrinter, WholeAndChunksAreTextCompletion) {
  const auto printer = make_completion_printer(head("cmpl-1"), RequestBase{});
  const ChoiceResult choices[] = {{"abc", {}, FinishReason::kStop}};
  EXPECT_EQ(printer->whole(choices, evidence()),
            std::string(R"({"id":"cmpl-1","object":"text_completion","created":1700000000,)"
                        R"("model":"m","system_fingerprint":"fieldprint-0.1.0-abc","choices":[)"
                        R"({"index":0,"text":"abc","logprobs":null,"finish_reason":"stop"}],)") +
                kUsage + "," + kEvidence + "}");
  EXPECT_FALSE(printer->opening(0).has_value());
  EXPECT_EQ(json::parse(printer->delta({0, "q", {}}))["choices"].dump(),
            R"([{"finish_reason":null,"index":0,"logprobs":null,"text":"q"}])");
}

TEST(CompletionPrinter, TextOffsetsRunOnOverChunks) {
  RequestBase base;
  base.choices = 2;
  base.sampling.logprobs = 0;
  const auto printer = make_completion_printer(head("cmpl-1"), base);
  const auto offsets = [](const std::string& chunk) {
    return json::parse(chunk)["choices"][0]["logprobs"]["text_offset"].dump();
  };
  const TokenLogprob two{1, "é!", -1.0F, {}};
  const TokenLogprob one{2, "z", -1.0F, {}};
  EXPECT_EQ(offsets(printer->delta({0, "é!z", {two, one}})), "[0,2]");
  EXPECT_EQ(offsets(printer->delta({1, "z", {one}})), "[0]");
  EXPECT_EQ(offsets(printer->delta({0, "z", {one}})), "[3]");
}

TEST(CompletionPrinter, OffsetsGoBackWithTheText) {
  RequestBase base;
  base.sampling.logprobs = 0;
  const auto printer = make_completion_printer(head("cmpl-1"), base);
  const TokenLogprob two{1, "é!", -1.0F, {}};
  (void)printer->delta({0, "é!", {two}});
  (void)printer->delta({0, "é!", {two}});
  RollbackEvent event;
  event.text_bytes = 3;
  event.text_characters = 2;
  (void)printer->rollback(event, 1);
  EXPECT_EQ(json::parse(printer->delta({0, "é!", {two}}))["choices"][0]["logprobs"]["text_offset"],
            json::array({2}));
}

TEST(ChatPrinter, ARollbackIsAChunkThatAddsNothing) {
  RequestBase base;
  base.stream_usage = StreamUsage::kOn;
  const auto printer = make_chat_printer(head("chatcmpl-1"), base);
  RollbackEvent event;
  event.choice = 1;
  event.text_bytes = 9;
  event.text_characters = 7;
  event.logprobs = 3;
  event.record.from_token = 40;
  event.record.to_token = 32;
  event.record.released_tokens = 5;
  event.record.change = RollbackChange::kQuarantine;
  event.record.cause = BreachCause::kNoDirection;
  event.record.angle = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(printer->rollback(event, 2),
            R"({"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,)"
            R"("model":"m","system_fingerprint":"fieldprint-0.1.0-abc","choices":[],"usage":null,)"
            R"("fieldprint":{"rollback":{"choice":1,"from_index":7,"from_byte":9,)"
            R"("from_logprob":3,"generation":2,"reason":"no_direction","change":"quarantine",)"
            R"("angle":null,"from_token":40,"to_token":32,"released_tokens":5}}})");
}

TEST(ResponseTexts, RollbacksAreCarriedOut) {
  const std::string begin = R"(data: {"choices":[{"index":0,"delta":{"content":"good bad"}}]})"
                            "\n\n";
  const auto rollback = [](const char* fields) {
    return std::string("event: fieldprint.rollback\ndata: ") +
           R"({"choices":[],"fieldprint":{"rollback":{)" + fields + "}}}\n\n";
  };
  const auto texts = response_texts(begin + rollback(R"("choice":0,"from_byte":5)") +
                                    R"(data: {"choices":[{"index":0,"delta":{"content":"end"}}]})");
  ASSERT_TRUE(texts) << texts.error().message;
  EXPECT_EQ(*texts, std::vector<std::string>{"good end"});
  for (const char* fields : {R"("choice":0)", R"("choice":0,"from_byte":9)",
                             R"("choice":1,"from_byte":0)", R"("choice":0,"from_byte":-1)"}) {
    EXPECT_FALSE(response_texts(begin + rollback(fields))) << fields;
  }
}

TEST(Print, AnAnchorShowsItsRecipe) {
  const AnchorInfo info{"sha256:aa", "aria", "joint", "system", 12};
  const json without = json::parse(print_anchor_report({}, info, nullptr));
  EXPECT_TRUE(without["front"]["supervision"].is_null());
  EXPECT_TRUE(json::parse(print_anchor_report({}, std::nullopt, nullptr))["front"].is_null());
  SupervisionRecipe recipe;
  recipe.fingerprint = make_fingerprint_recipe(96, FingerprintSeed{}, 15000).value();
  const auto model = SupervisionModel::create(recipe, 96, 30).value();
  const json with = json::parse(print_anchor_report({}, info, model.get()));
  EXPECT_EQ(with["front"]["supervision"]["recipe"], digest_string(model->digest()));
  EXPECT_TRUE(with["front"]["supervision"]["coherence"].is_null());
  EXPECT_EQ(with["front"]["supervision"]["verifiable_elsewhere"], false);
}

TEST(Print, Errors) {
  EXPECT_EQ(print_error({ErrorKind::kInvalid, "invalid_value", "no", "top_p"}),
            R"({"error":{"message":"no","type":"invalid_request_error","param":"top_p",)"
            R"("code":"invalid_value"}})");
  EXPECT_EQ(print_error({ErrorKind::kUnavailable, "model_loading", "wait", ""}, 42),
            R"({"error":{"message":"wait","type":"unavailable_error","param":null,)"
            R"("code":"model_loading","percent":42}})");
  EXPECT_NE(print_error({ErrorKind::kInternal, "x", "bad \xFF byte", ""}).find("bad � byte"),
            std::string::npos);
}

TEST(Print, ModelListTokenizeAndFriends) {
  ModelCard card;
  card.id = "alias";
  card.root = "m";
  card.created = 5;
  card.digest = "sha256:bb";
  card.max_model_len = 2048;
  card.config.architecture = "llama";
  const ModelCard cards[] = {card};
  EXPECT_EQ(
      print_model_list(cards),
      R"({"object":"list","data":[{"id":"alias","object":"model","created":5,)"
      R"("owned_by":"fieldprint","root":"m","max_model_len":2048,"meta":{"architecture":"llama",)"
      R"("name":"","digest":"sha256:bb","n_vocab":0,"n_ctx_train":0,"n_embd":0,"n_layer":0,)"
      R"("n_head":0,"n_head_kv":0,"anchor":null}}]})");
  EXPECT_EQ(print_model_list({}), R"({"object":"list","data":[]})");
  EXPECT_EQ(print_tokenize({{1, 2}, std::nullopt, 9}),
            R"({"count":2,"max_model_len":9,"tokens":[1,2]})");
  EXPECT_EQ(print_tokenize({{1}, std::vector<std::string>{"\xC3"}, 9}),
            R"({"count":1,"max_model_len":9,"tokens":[1],"token_strs":["�"]})");
  EXPECT_EQ(print_detokenize("a"), R"({"prompt":"a","content":"a"})");
  EXPECT_EQ(print_status("ok"), R"({"status":"ok"})");
  EXPECT_EQ(print_version("1"), R"({"version":"1"})");
}

}  // namespace
}  // namespace fieldprint
