// Compiles identity text to an anchor: runs the model once over the text and keeps the
// K and V rows it computes, with the tokens at their own positions 0..T-1.
//
// Row 0 (the attention sink) sits in a page and leaf of its own, the rest in leaves of
// class anchor: the layout in which the anchor is served, so that its rows are those an
// ordinary prefix with these cuts would have.
//
// Thread rule: the runner's.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "anchor/artifact.h"
#include "kv/block_pool.h"
#include "model/chat_template.h"
#include "model/tokenizer.h"
#include "runner/runner.h"

namespace fieldprint {

struct AnchorCompileOptions {
  std::string name;             // 1..128 bytes, printable UTF-8
  std::string wrap = "system";  // "system": as the chat template's system turn; "raw"
  std::string model_digest;     // "sha256:<hex>" of the model file
};

// The anchor's tokens: BOS if the model wants one, then the text. Control tokens written
// in the text stay text. Errors: anchor_text_empty, anchor_too_large, anchor_corrupt (not
// UTF-8), anchor_wrap_invalid, chat_template_* (wrap "system" needs a template).
Result<std::vector<TokenId>> anchor_tokens(const Tokenizer& tokenizer,
                                           const ChatTemplate* chat_template,
                                           const std::string& text, const std::string& wrap);

// Runs `tokens` and reads the rows back. chat_template is recorded in the recipe. Takes
// pages from `pool` and gives them back. Errors: anchor_too_short, anchor_too_large,
// anchor_name_invalid, anchor_corrupt (text, digest or rows break the format), kv_exhausted,
// those of the runner.
Result<AnchorArtifact> compile_anchor_tokens(Runner& runner, BlockPool& pool,
                                             std::span<const TokenId> tokens,
                                             const std::string& text,
                                             const std::string& chat_template,
                                             const AnchorCompileOptions& options);

// Both of the above over a pool of its own: nobody else may use the runner's pages.
Result<AnchorArtifact> compile_anchor(Runner& runner, const Tokenizer& tokenizer,
                                      const ChatTemplate* chat_template, const std::string& text,
                                      const AnchorCompileOptions& options);

}  // namespace fieldprint
