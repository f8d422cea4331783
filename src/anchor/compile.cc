#include "anchor/compile.h"

#include <algorithm>

#include "anchor/document.h"
#include "codec/utf8.h"
#include "core/check.h"
#include "kv/block_table.h"

namespace fieldprint {
namespace {

tl::unexpected<Error> too_long(std::size_t tokens, std::int32_t limit) {
  return fail(ErrorKind::kTooLarge, "anchor_too_large",
              "the anchor has " + std::to_string(tokens) + " tokens, at most " +
                  std::to_string(limit) + " are allowed here; shorten the text",
              "text");
}

// Most tokens this runner can compile: the format's limit or the model's context.
std::int32_t token_limit(const Runner& runner) {
  const std::int32_t trained = runner.config().context_train;
  return trained > 0 ? std::min(trained, kAnchorMaxTokens) : kAnchorMaxTokens;
}

// Runs the tokens through the model, a step at a time; `table` gets their pages.
Status prefill(Runner& runner, BlockTable& table, std::span<const TokenId> tokens) {
  const std::int32_t step_tokens = runner.max_step_tokens();
  FP_CHECK(step_tokens >= 1);
  std::size_t done = 0;
  while (done < tokens.size()) {
    const auto count = static_cast<std::int32_t>(
        std::min(tokens.size() - done, static_cast<std::size_t>(step_tokens)));
    std::vector<RowSlot> slots;
    std::int32_t anchor_rows = count;
    if (done == 0) {
      FP_ASSIGN(AppendedRows sink, table.commit(KvClass::kSink, 1));
      slots = std::move(sink.slots);
      table.cut_leaf();
      --anchor_rows;
    }
    FP_ASSIGN(const AppendedRows rows, table.commit(KvClass::kAnchor, anchor_rows));
    slots.insert(slots.end(), rows.slots.begin(), rows.slots.end());
    SequenceStep step;
    step.tokens = tokens.subspan(done, static_cast<std::size_t>(count));
    step.slots = slots;
    step.plan.first_query_pos = static_cast<std::int32_t>(done);
    step.plan.pages = table.page_entries();
    step.plan.leaves = table.leaves();
    FP_TRY(runner.forward(std::span(&step, 1)));
    done += static_cast<std::size_t>(count);
  }
  return {};
}

// Copies one page's rows into the artifact's [layer][kv_head][row][head_dim] arrays.
void store_rows(const PageRows& rows, const PageEntry& entry, int layer, AnchorArtifact& artifact) {
  const auto dim = static_cast<std::size_t>(artifact.head_dim);
  const std::size_t page_stride = entry.rows * dim;
  for (std::int32_t head = 0; head < artifact.kv_heads; ++head) {
    const auto from = static_cast<std::ptrdiff_t>(static_cast<std::size_t>(head) * page_stride);
    const std::size_t row =
        static_cast<std::size_t>(layer * artifact.kv_heads + head) * artifact.tokens.size() +
        static_cast<std::size_t>(entry.first_pos);
    const auto to = static_cast<std::ptrdiff_t>(row * dim);
    std::copy_n(rows.k.begin() + from, page_stride, artifact.k.begin() + to);
    std::copy_n(rows.v.begin() + from, page_stride, artifact.v.begin() + to);
  }
}

Status read_back(Runner& runner, const BlockTable& table, AnchorArtifact& artifact) {
  artifact.k.resize(static_cast<std::size_t>(anchor_kv_elements(artifact)));
  artifact.v.resize(artifact.k.size());
  artifact.beta_fit.assign(static_cast<std::size_t>(anchor_beta_elements(artifact)), 0.0F);
  for (int layer = 0; layer < artifact.layers; ++layer) {
    for (const PageEntry& entry : table.page_entries()) {
      FP_ASSIGN(const PageRows rows, runner.read_page(layer, entry.page, entry.rows));
      const std::size_t expected = static_cast<std::size_t>(artifact.kv_heads) * entry.rows *
                                   static_cast<std::size_t>(artifact.head_dim);
      FP_CHECK(rows.k.size() == expected && rows.v.size() == expected);
      store_rows(rows, entry, layer, artifact);
    }
  }
  return {};
}

}  // namespace

Result<std::vector<TokenId>> anchor_tokens(const Tokenizer& tokenizer,
                                           const ChatTemplate* chat_template,
                                           const std::string& text, const std::string& wrap) {
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
    return fail(ErrorKind::kInvalid, "anchor_text_empty", "the identity text is empty", "text");
  }
  if (text.size() > kAnchorMaxText) {
    return fail(ErrorKind::kTooLarge, "anchor_too_large",
                "the identity text has " + std::to_string(text.size()) + " bytes, at most " +
                    std::to_string(kAnchorMaxText) + " are allowed",
                "text");
  }
  if (!utf8_valid(text)) {
    return fail(ErrorKind::kInvalid, "anchor_corrupt", "the identity text is not valid UTF-8",
                "text");
  }
  std::vector<TokenId> tokens;
  if (wrap == "raw") {
    if (tokenizer.adds_bos()) tokens.push_back(tokenizer.bos());
    const std::vector<TokenId> encoded = tokenizer.encode(text, false);
    tokens.insert(tokens.end(), encoded.begin(), encoded.end());
    return tokens;
  }
  if (wrap != "system") {
    return fail(ErrorKind::kInvalid, "anchor_wrap_invalid",
                "wrap '" + wrap + "' is neither \"system\" nor \"raw\"", "wrap");
  }
  if (chat_template == nullptr) {
    return fail(ErrorKind::kUnsupported, "chat_template_missing",
                "wrap \"system\" needs a chat template and this model has none; use wrap \"raw\"",
                "wrap");
  }
  const ChatMessage message{"system", text};
  const ChatRender render{.add_generation_prompt = false, .add_bos = true};
  FP_ASSIGN(const std::vector<TokenSpan> spans,
            chat_template->render(tokenizer, std::span(&message, 1), render));
  for (const TokenSpan& span : spans) {
    tokens.insert(tokens.end(), span.tokens.begin(), span.tokens.end());
  }
  return tokens;
}

Result<AnchorArtifact> compile_anchor_tokens(Runner& runner, BlockPool& pool,
                                             std::span<const TokenId> tokens,
                                             const std::string& text,
                                             const std::string& chat_template,
                                             const AnchorCompileOptions& options) {
  if (tokens.size() < static_cast<std::size_t>(kAnchorMinTokens)) {
    return fail(ErrorKind::kInvalid, "anchor_too_short",
                "an anchor needs at least " + std::to_string(kAnchorMinTokens) + " tokens", "text");
  }
  FP_TRY(check_anchor_name(options.name));  // before the work, not after it
  const std::int32_t limit = token_limit(runner);
  if (tokens.size() > static_cast<std::size_t>(limit)) return too_long(tokens.size(), limit);
  const ModelConfig& config = runner.config();
  AnchorArtifact artifact;
  artifact.name = options.name;
  artifact.text = text;
  artifact.tokens.assign(tokens.begin(), tokens.end());
  artifact.model_digest = options.model_digest;
  artifact.recipe.wrap = options.wrap;
  artifact.recipe.chat_template = chat_template;
  artifact.recipe.numeric_profile = runner.numeric_profile();
  artifact.layers = config.layers;
  artifact.kv_heads = config.kv_heads;
  artifact.head_dim = config.head_dim;

  BlockTable table(pool);
  FP_TRY(prefill(runner, table, tokens));
  FP_TRY(read_back(runner, table, artifact));
  FP_TRY(seal_anchor(artifact));
  return artifact;
}

Result<AnchorArtifact> compile_anchor(Runner& runner, const Tokenizer& tokenizer,
                                      const ChatTemplate* chat_template, const std::string& text,
                                      const AnchorCompileOptions& options) {
  FP_ASSIGN(const std::vector<TokenId> tokens,
            anchor_tokens(tokenizer, chat_template, text, options.wrap));
  BlockPool pool(runner.page_count());
  const std::string recorded = options.wrap == "system" ? chat_template->name() : std::string();
  return compile_anchor_tokens(runner, pool, tokens, text, recorded, options);
}

}  // namespace fieldprint
