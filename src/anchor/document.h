// anchor.json: what an anchor folder promises (docs/formats/anchor.md).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "anchor/artifact.h"
#include "core/error.h"
#include "crypto/sha256.h"

namespace fieldprint {

inline constexpr std::int64_t kAnchorVersion = 1;
inline constexpr std::size_t kAnchorMaxJson = std::size_t{1} << 20;          // bytes of anchor.json
inline constexpr std::size_t kAnchorMaxText = std::size_t{1} << 20;          // bytes of text
inline constexpr std::uint64_t kAnchorMaxRows = std::uint64_t{2} << 30;      // of rows.safetensors
inline constexpr std::size_t kAnchorMaxSupervision = std::size_t{96} << 20;  // of supervision.json
inline constexpr std::int32_t kAnchorMinTokens = 2;                          // the sink and one row
inline constexpr std::int32_t kAnchorMaxTokens = 8192;
inline constexpr std::int32_t kAnchorMaxLayers = 1024;
inline constexpr std::int32_t kAnchorMaxHeads = 1024;
inline constexpr std::int32_t kAnchorMaxHeadDim = 1024;
inline constexpr std::size_t kAnchorMaxName = 128;  // bytes, no control characters

// An artifact without its text, rows, beta and supervision, plus the digests of the files with
// them.
struct AnchorDocument {
  AnchorArtifact head;
  FileDigest text;
  FileDigest rows;
  FileDigest supervision;  // empty digest: the anchor has none
};

// Elements of k (and of v); of beta_fit without head_dim. Sizes must be in the limits.
std::uint64_t anchor_kv_elements(const AnchorArtifact& head);
std::uint64_t anchor_beta_elements(const AnchorArtifact& head);

// Errors: anchor_name_invalid (1..kAnchorMaxName bytes of UTF-8, no control characters).
Status check_anchor_name(std::string_view name);

// The canonical bytes of anchor.json. Errors: anchor_name_invalid, anchor_too_large,
// anchor_version (unknown method or wrap), anchor_corrupt (another field breaks a limit).
Result<std::string> print_anchor_json(const AnchorDocument& document);

// Reads canonical bytes only; head.digest is the digest of `bytes`. Fuzz entry point.
// Errors: anchor_corrupt, anchor_name_invalid, anchor_too_large, anchor_version,
// anchor_unknown_field.
Result<AnchorDocument> parse_anchor_json(std::span<const std::uint8_t> bytes);

// The document of a whole artifact: checks sizes and values, hashes text and rows.
// Errors: as print_anchor_json.
Result<AnchorDocument> describe_anchor(const AnchorArtifact& artifact);

// Sets artifact.digest to what save_anchor() would give it. Errors: as describe_anchor.
Status seal_anchor(AnchorArtifact& artifact);

// Header of rows.safetensors for this shape: tensors k, v (BF16) and beta_fit (F32).
std::string anchor_rows_header(const AnchorArtifact& head);

// Checks text and numbers of an artifact whose shape is in the limits: valid UTF-8, no
// infinity or NaN, beta_fit zero for exact rows. Errors: anchor_corrupt.
Status check_anchor_values(const AnchorArtifact& artifact);

}  // namespace fieldprint
