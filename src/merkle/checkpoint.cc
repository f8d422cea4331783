#include "merkle/checkpoint.h"

#include <algorithm>

#include "core/check.h"
#include "merkle/text.h"

namespace fieldprint {
namespace {

tl::unexpected<Error> invalid(const char* what) {
  return fail(ErrorKind::kInvalid, "checkpoint_invalid", std::string("checkpoint: ") + what);
}

bool contains(std::span<const VerifierKey> keys, const VerifierKey& key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

}  // namespace

Result<Checkpoint> checkpoint_parse(std::string_view body) {
  FP_TRY(check_note_text(body));
  Checkpoint checkpoint;
  std::string_view origin, size, root;
  if (!take_line(body, origin) || !take_line(body, size) || !take_line(body, root)) {
    return invalid("has fewer than three lines");
  }
  if (origin.empty()) return invalid("the origin is empty");
  checkpoint.origin = origin;
  if (!parse_decimal(size, checkpoint.size)) return invalid("the tree size is no decimal number");
  if (!parse_hash(root, checkpoint.root)) return invalid("the root is no base64 of 32 bytes");
  if (checkpoint.size == 0 && checkpoint.root != empty_root()) {
    return invalid("the root of an empty tree is not SHA-256 of nothing");
  }
  for (std::string_view line; take_line(body, line);) {
    if (line.empty()) return invalid("an extension line is empty");
    checkpoint.extensions.emplace_back(line);
  }
  return checkpoint;
}

std::string checkpoint_print(const Checkpoint& checkpoint) {
  FP_CHECK(!checkpoint.origin.empty() && checkpoint.size <= kMaxTreeSize);
  std::string body = checkpoint.origin + "\n" + std::to_string(checkpoint.size) + "\n" +
                     print_hash(checkpoint.root) + "\n";
  for (const std::string& line : checkpoint.extensions) body += line + "\n";
  return body;
}

std::optional<std::uint64_t> VerifiedCheckpoint::latest_time() const {
  std::optional<std::uint64_t> latest;
  for (const VerifiedSignature& signature : cosignatures) latest = std::max(latest, signature.time);
  return latest;
}

Result<VerifiedCheckpoint> checkpoint_open(std::string_view bytes, std::string_view origin,
                                           std::span<const VerifierKey> log_keys,
                                           std::span<const VerifierKey> cosigners) {
  VerifiedCheckpoint verified;
  FP_ASSIGN(verified.note, note_parse(bytes));
  std::vector<VerifierKey> keys(log_keys.begin(), log_keys.end());
  keys.insert(keys.end(), cosigners.begin(), cosigners.end());
  FP_ASSIGN(std::vector<VerifiedSignature> signatures, note_verify(verified.note, keys));
  for (VerifiedSignature& signature : signatures) {
    const bool log = contains(log_keys, signature.key);
    (log ? verified.log_signatures : verified.cosignatures).push_back(std::move(signature));
  }
  if (verified.log_signatures.empty()) {
    return fail(ErrorKind::kForbidden, "checkpoint_unsigned",
                "checkpoint: cosigned, but not signed by a known key of the log");
  }
  FP_ASSIGN(verified.checkpoint, checkpoint_parse(verified.note.text));
  if (verified.checkpoint.origin != origin) {
    return fail(ErrorKind::kForbidden, "checkpoint_origin",
                "checkpoint: is of another log than " + std::string(origin));
  }
  return verified;
}

}  // namespace fieldprint
