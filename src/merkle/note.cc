#include "merkle/note.h"

#include <algorithm>

#include "codec/base64.h"
#include "codec/utf8.h"
#include "core/check.h"
#include "merkle/text.h"

namespace fieldprint {
namespace {

constexpr std::string_view kDash = "\xE2\x80\x94 ";  // em dash, space
constexpr std::string_view kDivider = "\n\n";
constexpr std::size_t kIdBytes = 4;
constexpr std::size_t kTimeBytes = 8;

tl::unexpected<Error> invalid(const std::string& what) {
  return fail(ErrorKind::kInvalid, "note_invalid", "signed note: " + what);
}

Result<NoteSignature> parse_line(std::string_view line) {
  if (!line.starts_with(kDash)) return invalid("a signature line does not begin with a dash");
  line.remove_prefix(kDash.size());
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos) return invalid("a signature line has no signature");
  NoteSignature signature;
  signature.name = line.substr(0, space);
  if (!check_key_name(signature.name)) return invalid("a signature line has a bad key name");
  const auto blob = base64_decode(line.substr(space + 1));
  if (!blob || blob->size() <= kIdBytes) return invalid("a signature is not valid base64");
  for (std::size_t i = 0; i < kIdBytes; ++i) signature.key_id = signature.key_id << 8 | (*blob)[i];
  signature.bytes.assign(blob->begin() + kIdBytes, blob->end());
  return signature;
}

std::string cosigned_message(std::string_view text, std::uint64_t time) {
  std::string message = "cosignature/v1\ntime " + std::to_string(time) + "\n";
  return message.append(text);
}

// The time of a cosignature blob (u64 big-endian || signature), if it has the right form.
std::optional<std::uint64_t> time_of(std::span<const std::uint8_t> blob) {
  if (blob.size() != kTimeBytes + std::tuple_size_v<Ed25519Signature>) return std::nullopt;
  std::uint64_t time = 0;
  for (std::size_t i = 0; i < kTimeBytes; ++i) time = time << 8 | blob[i];
  if (time > kMaxTreeSize) return std::nullopt;  // 2^63-1, as the specification says
  return time;
}

struct Check {
  bool good = false;
  std::optional<std::uint64_t> time;
};

Check check_signature(std::string_view text, const NoteSignature& signature,
                      const VerifierKey& key) {
  switch (key.type()) {
    case NoteKeyType::kEd25519:
      return {ed25519_verify(key.key(), text, signature.bytes), std::nullopt};
    case NoteKeyType::kCosignature: {
      const std::optional<std::uint64_t> time = time_of(signature.bytes);
      if (!time) return {};
      const auto bytes = std::span(signature.bytes).subspan(kTimeBytes);
      return {ed25519_verify(key.key(), cosigned_message(text, *time), bytes), time};
    }
  }
  FP_UNREACHABLE();
}

bool same_identity(const VerifierKey& a, const VerifierKey& b) {
  return a.id() == b.id() && a.name() == b.name();
}

Status check_unambiguous(std::span<const VerifierKey> keys) {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (same_identity(keys[i], keys[j]) && keys[i] != keys[j]) {
        return fail(ErrorKind::kInvalid, "note_key_ambiguous",
                    "two keys are called " + keys[i].id_text() + "; rename or drop one");
      }
    }
  }
  return {};
}

}  // namespace

Status check_note_text(std::string_view text) {
  if (text.empty() || text.back() != '\n') return invalid("the text does not end in a newline");
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 && c != '\n'; };
  if (std::any_of(text.begin(), text.end(), control) || !utf8_valid(text)) {
    return invalid("holds a control character or broken UTF-8");
  }
  return {};
}

Result<std::vector<NoteSignature>> parse_signature_lines(std::string_view lines) {
  if (lines.size() > kMaxNoteBytes) {
    return fail(ErrorKind::kTooLarge, "note_too_large", "signed note: more than 1 MiB");
  }
  FP_TRY(check_note_text(lines));
  std::vector<NoteSignature> signatures;
  for (std::string_view line; take_line(lines, line);) {
    if (signatures.size() == kMaxNoteSignatures) {
      return fail(ErrorKind::kTooLarge, "note_too_large", "signed note: more than 100 signatures");
    }
    FP_ASSIGN(NoteSignature signature, parse_line(line));
    signatures.push_back(std::move(signature));
  }
  return signatures;
}

Result<Note> note_parse(std::string_view bytes) {
  if (bytes.size() > kMaxNoteBytes) {
    return fail(ErrorKind::kTooLarge, "note_too_large", "signed note: more than 1 MiB");
  }
  FP_TRY(check_note_text(bytes));
  const std::size_t divider = bytes.rfind(kDivider);
  if (divider == std::string_view::npos) return invalid("no empty line before the signatures");
  Note note;
  note.text = bytes.substr(0, divider + 1);
  FP_ASSIGN(note.signatures, parse_signature_lines(bytes.substr(divider + kDivider.size())));
  return note;
}

std::string signature_line(const NoteSignature& signature) {
  std::vector<std::uint8_t> blob;
  for (int shift = 24; shift >= 0; shift -= 8) {
    blob.push_back(static_cast<std::uint8_t>(signature.key_id >> shift));
  }
  blob.insert(blob.end(), signature.bytes.begin(), signature.bytes.end());
  return std::string(kDash) + signature.name + " " + base64_encode(blob) + "\n";
}

std::string note_print(const Note& note) {
  std::string bytes = note.text + "\n";
  for (const NoteSignature& signature : note.signatures) bytes += signature_line(signature);
  return bytes;
}

NoteSignature note_sign(std::string_view text, const SignerKey& key) {
  FP_CHECK(key.verifier().type() == NoteKeyType::kEd25519);
  FP_CHECK(check_note_text(text).has_value());
  const Ed25519Signature signature = key.sign(text);
  return {key.name(), key.verifier().id(), {signature.begin(), signature.end()}};
}

NoteSignature note_cosign(std::string_view text, const SignerKey& key, std::uint64_t time) {
  FP_CHECK(key.verifier().type() == NoteKeyType::kCosignature && time <= kMaxTreeSize);
  FP_CHECK(check_note_text(text).has_value());
  const Ed25519Signature signature = key.sign(cosigned_message(text, time));
  NoteSignature out{key.name(), key.verifier().id(), {}};
  for (int shift = 56; shift >= 0; shift -= 8) {
    out.bytes.push_back(static_cast<std::uint8_t>(time >> shift));
  }
  out.bytes.insert(out.bytes.end(), signature.begin(), signature.end());
  return out;
}

Result<std::vector<VerifiedSignature>> note_verify(const Note& note,
                                                   std::span<const VerifierKey> keys) {
  FP_TRY(check_unambiguous(keys));
  std::vector<VerifiedSignature> verified;
  for (std::size_t i = 0; i < note.signatures.size(); ++i) {
    const NoteSignature& signature = note.signatures[i];
    const auto key = std::find_if(keys.begin(), keys.end(), [&](const VerifierKey& k) {
      return k.id() == signature.key_id && k.name() == signature.name;
    });
    if (key == keys.end()) continue;
    const Check check = check_signature(note.text, signature, *key);
    if (!check.good) {
      return fail(ErrorKind::kForbidden, "note_signature_invalid",
                  "signed note: the signature of " + key->id_text() + " does not hold");
    }
    verified.push_back({*key, check.time, i});
  }
  if (verified.empty()) {
    return fail(ErrorKind::kForbidden, "note_unsigned", "signed note: no known key has signed it");
  }
  return verified;
}

}  // namespace fieldprint
