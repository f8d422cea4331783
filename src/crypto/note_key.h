// Named Ed25519 keys in the text forms of C2SP signed-note and Go's sumdb/note.
//
//   public: <name>+<key id, 8 hex>+<base64(type || 32-byte key)>               ("vkey")
//   secret: PRIVATE+KEY+<name>+<key id, 8 hex>+<base64(type || 32-byte seed)>
//   key id = SHA-256(name || 0x0A || type || public key)[:4], big-endian
//
// A name has 1 to 255 bytes of UTF-8 without Unicode space, control characters and '+'.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/error.h"
#include "crypto/ed25519.h"

namespace fieldprint {

inline constexpr std::size_t kMaxKeyName = 255;

// The type byte; C2SP signed-note assigns it.
enum class NoteKeyType : std::uint8_t {
  kEd25519 = 0x01,      // logs sign the note itself; authorities sign DSSE
  kCosignature = 0x04,  // witnesses and the log's own cosigner: cosignature/v1, with a time
};

// Errors: key_name_invalid.
Status check_key_name(std::string_view name);

class VerifierKey {
 public:
  // Errors: key_name_invalid.
  static Result<VerifierKey> make(std::string_view name, NoteKeyType type,
                                  const Ed25519PublicKey& key);
  // Errors: vkey_invalid (form, key id that does not fit), vkey_unsupported (a type that this
  // program cannot verify, e.g. ML-DSA), key_name_invalid.
  static Result<VerifierKey> parse(std::string_view vkey);

  const std::string& name() const { return name_; }
  NoteKeyType type() const { return type_; }
  std::uint32_t id() const { return id_; }
  const Ed25519PublicKey& key() const { return key_; }
  std::string print() const;    // the vkey
  std::string id_text() const;  // "<name>+<8 hex>", to show and as DSSE keyid

  friend bool operator==(const VerifierKey&, const VerifierKey&) = default;

 private:
  VerifierKey(std::string name, NoteKeyType type, const Ed25519PublicKey& key);

  std::string name_;
  NoteKeyType type_;
  std::uint32_t id_;
  Ed25519PublicKey key_;
};

// A secret key with its name and type. Movable, not copyable; signing is thread-safe.
class SignerKey {
 public:
  static Result<SignerKey> generate(std::string_view name, NoteKeyType type);
  // One trailing newline is allowed. Errors: signer_key_invalid (never quotes the text),
  // vkey_unsupported, key_name_invalid.
  static Result<SignerKey> parse(std::string_view text);
  // Reads a 0600 file (key_file.h). Errors: also those of read_secret_key_file.
  static Result<SignerKey> load(const std::string& path);

  const VerifierKey& verifier() const { return verifier_; }
  const std::string& name() const { return verifier_.name(); }
  Ed25519Signature sign(std::string_view message) const { return secret_.sign(message); }
  SecretBytes print() const;  // the text form, without newline

 private:
  SignerKey(VerifierKey verifier, Ed25519SecretKey secret)
      : verifier_(std::move(verifier)), secret_(std::move(secret)) {}

  VerifierKey verifier_;
  Ed25519SecretKey secret_;
};

// A vkey file: one vkey, one trailing newline allowed.
Result<VerifierKey> load_verifier_key(const std::string& path);

}  // namespace fieldprint
