#include "ledger/checkpoint_file.h"

#include <algorithm>

#include "core/check.h"
#include "merkle/checkpoint.h"

namespace fieldprint {

Result<SignedCheckpoint> open_checkpoint(std::string_view text, std::string_view origin,
                                         std::span<const VerifierKey> log_keys,
                                         std::span<const VerifierKey> cosigners) {
  FP_ASSIGN(const VerifiedCheckpoint verified, checkpoint_open(text, origin, log_keys, cosigners));
  SignedCheckpoint checkpoint;
  checkpoint.text = text;
  checkpoint.origin = verified.checkpoint.origin;
  checkpoint.size = verified.checkpoint.size;
  checkpoint.root = verified.checkpoint.root;
  checkpoint.time_s = static_cast<std::int64_t>(verified.latest_time().value_or(0));
  return checkpoint;
}

SignedCheckpoint sign_checkpoint(std::string_view origin, std::uint64_t size, const Digest256& root,
                                 const SignerKey& log, const SignerKey& cosigner,
                                 std::int64_t time_s, std::span<const NoteSignature> others) {
  FP_CHECK(time_s >= 0);
  Checkpoint head;
  head.origin = origin;
  head.size = size;
  head.root = root;
  Note note;
  note.text = checkpoint_print(head);
  note.signatures.push_back(note_sign(note.text, log));
  note.signatures.push_back(note_cosign(note.text, cosigner, static_cast<std::uint64_t>(time_s)));
  for (const NoteSignature& other : others) {
    const bool own = other.name == log.name() && (other.key_id == log.verifier().id() ||
                                                  other.key_id == cosigner.verifier().id());
    if (!own && note.signatures.size() < kMaxNoteSignatures) note.signatures.push_back(other);
  }
  return {note_print(note), head.origin, size, root, time_s};
}

}  // namespace fieldprint
