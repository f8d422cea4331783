// Anchor folders with a signature: what is in them, and that it is what was signed.
//
// The folder holds anchor.json, text, rows.safetensors, model.sig, supervision.json if anchor.json
// names one, and nothing else: a file that the signature does not cover has no place beside files
// that it does.
#pragma once

#include <span>
#include <string>

#include "anchor/artifact.h"
#include "anchor/bundle.h"
#include "core/error.h"
#include "crypto/p256.h"

namespace fieldprint {

struct SignedAnchor {
  AnchorArtifact artifact;
  std::string bundle_digest;  // "sha256:<hex>" of model.sig
  std::string key_name;       // of the anchor key that signed
};

// Reads every file once and compares what it read with what was signed. Errors: those of
// load_anchor_files and verify_bundle; anchor_unsigned (no model.sig), anchor_unexpected_file,
// anchor_symlink, anchor_missing, anchor_manifest_mismatch (the signed list is not this
// folder's: a file more, less, or another).
Result<SignedAnchor> load_signed_anchor(const std::string& folder, std::span<const AnchorKey> keys);

// Checks the folder as an unsigned anchor and writes model.sig, replacing an older one.
// Returns the artifact. Errors: those of load_anchor_files; anchor_unexpected_file,
// anchor_symlink, io_write.
Result<LoadedAnchor> sign_anchor_folder(const std::string& folder, const P256SecretKey& key);

}  // namespace fieldprint
