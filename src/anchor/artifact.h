// Anchor artifact: identity text compiled to KV rows for one model.
// On disk a folder: anchor.json, text, rows.safetensors and, once calibrated, supervision.json
// (docs/formats/anchor.md).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "attention/plan.h"
#include "core/error.h"
#include "model/tokenizer.h"

namespace fieldprint {

inline constexpr const char* kAnchorJsonName = "anchor.json";
inline constexpr const char* kAnchorTextName = "text";
inline constexpr const char* kAnchorRowsName = "rows.safetensors";
inline constexpr const char* kAnchorSupervisionName = "supervision.json";

struct AnchorRecipe {
  std::string method = "exact";  // rows are the model's own KV of the text
  std::string wrap = "system";   // "system": as the chat template's system turn; "raw"
  std::string chat_template;     // name or digest of the template used, empty for raw
  std::string numeric_profile;   // the runner's, at compile time
};

// Row r of the anchor is the token at position r. Row 0 is the attention sink:
// engines keep it in the context partition with class sink and beta 0.
struct AnchorArtifact {
  std::string name;
  std::string text;
  std::vector<TokenId> tokens;  // T of them
  std::string model_digest;     // "sha256:<hex>" of the GGUF file
  AnchorRecipe recipe;
  std::int32_t layers = 0;
  std::int32_t kv_heads = 0;
  std::int32_t head_dim = 0;
  // bf16 bit patterns [layer][kv_head][row][head_dim], RoPE applied at position r.
  std::vector<std::uint16_t> k;
  std::vector<std::uint16_t> v;
  std::vector<float> beta_fit;  // [layer][kv_head][row]; 0 for exact rows
  // Bytes of supervision.json, which the digest commits to; empty: the anchor has none. What they
  // mean is the supervisor's business (supervisor/recipe.h).
  std::string supervision;
  std::string digest;  // "sha256:<hex>" of the canonical anchor.json

  std::int32_t length() const { return static_cast<std::int32_t>(tokens.size()); }
};

// Writes the folder atomically (temp folder, fsync, rename). Fills in digest.
// Errors: io_write, anchor_exists; anchor_corrupt, anchor_name_invalid or anchor_too_large
// when the artifact itself breaks the format's limits.
Status save_anchor(AnchorArtifact& artifact, const std::string& folder);
// The same over a folder that exists: it is exchanged in one step, and everything in the old one,
// a signature too, is gone. A reader sees the old anchor or the new one. Errors: as save_anchor,
// without anchor_exists; anchor_missing.
Status replace_anchor(AnchorArtifact& artifact, const std::string& folder);

// What anchor.json says about another file of the folder.
struct FileDigest {
  std::string digest;  // "sha256:<hex>"
  std::uint64_t size = 0;
};

struct LoadedAnchor {
  AnchorArtifact artifact;
  FileDigest text;  // as read: every byte was hashed once, on the way into memory
  FileDigest rows;
  FileDigest supervision;  // empty digest: there is none
};

// Reads and checks a folder: sizes, digests of its files, finite values. Links are not
// followed. Says nothing about who made it: that is load_signed_anchor (anchor/signed.h).
// Errors: anchor_missing, anchor_corrupt, anchor_digest_mismatch (a file is not the one
// that anchor.json names), anchor_unexpected_file (a supervision.json that it does not name),
// anchor_symlink, anchor_too_large, anchor_version (unknown version, method or wrap),
// anchor_unknown_field, anchor_name_invalid, io_open, io_read.
Result<LoadedAnchor> load_anchor_files(const std::string& folder);
Result<AnchorArtifact> load_anchor(const std::string& folder);

}  // namespace fieldprint
