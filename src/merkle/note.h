// Signed notes (C2SP signed-note) and Ed25519 cosignatures (C2SP tlog-cosignature).
//
//   note = text "\n" 1*signature          text ends in "\n"; the last empty line divides
//   signature = U+2014 " " name " " base64(key id, 4 bytes big-endian || bytes) "\n"
//
// A text is worth nothing before note_verify() says whose signatures hold.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "crypto/note_key.h"

namespace fieldprint {

inline constexpr std::size_t kMaxNoteBytes = std::size_t{1} << 20;
inline constexpr std::size_t kMaxNoteSignatures = 100;  // as Go's sumdb/note

struct NoteSignature {
  std::string name;
  std::uint32_t key_id = 0;
  std::vector<std::uint8_t> bytes;
  friend bool operator==(const NoteSignature&, const NoteSignature&) = default;
};

struct Note {
  std::string text;
  std::vector<NoteSignature> signatures;
};

// Errors: note_invalid, note_too_large. Refuses, beyond the specification, base64 with more
// than one spelling, so that note_print(note_parse(x)) == x.
Result<Note> note_parse(std::string_view bytes);
std::string note_print(const Note& note);

// Signature lines alone, as a witness answers them; at least one. Errors: as note_parse.
Result<std::vector<NoteSignature>> parse_signature_lines(std::string_view lines);
std::string signature_line(const NoteSignature& signature);

// UTF-8 without control characters that ends in a newline. Errors: note_invalid.
Status check_note_text(std::string_view text);

// Signs the text itself. The key must be of type kEd25519.
NoteSignature note_sign(std::string_view text, const SignerKey& key);

// cosignature/v1: signs the text and the time (seconds since 1970, below 2^63). The text is a
// checkpoint body, the key of type kCosignature.
NoteSignature note_cosign(std::string_view text, const SignerKey& key, std::uint64_t time);

struct VerifiedSignature {
  VerifierKey key;
  std::optional<std::uint64_t> time;  // of a cosignature
  std::size_t position = 0;           // in note.signatures
};

// The signatures of known keys, which all must hold; those of others are ignored. A key may
// have signed twice (cosignatures of different times). Errors: note_unsigned (no known key
// signed), note_signature_invalid (a known key's signature fails: the whole note is refused),
// note_key_ambiguous (two of `keys` share name and id).
Result<std::vector<VerifiedSignature>> note_verify(const Note& note,
                                                   std::span<const VerifierKey> keys);

}  // namespace fieldprint
