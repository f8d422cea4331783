#include "crypto/note_key.h"

#include <algorithm>
#include <array>

#include "codec/base64.h"
#include "codec/hex.h"
#include "codec/utf8.h"
#include "crypto/key_file.h"
#include "crypto/sha256.h"

namespace fieldprint {
namespace {

constexpr std::string_view kSecretPrefix = "PRIVATE+KEY+";
constexpr std::size_t kIdDigits = 8;
constexpr std::size_t kKeyBytes = 33;  // type, then a public key or a seed

// White_Space of the Unicode character database, as UTF-8.
constexpr std::array<std::string_view, 19> kSpaces = {
    "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81",
    "\xE2\x80\x82", "\xE2\x80\x83", "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86",
    "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A", "\xE2\x80\xA8",
    "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};

tl::unexpected<Error> bad_name(const char* what) {
  return fail(ErrorKind::kInvalid, "key_name_invalid", std::string("a key name ") + what);
}

std::uint32_t key_id(std::string_view name, NoteKeyType type, const Ed25519PublicKey& key) {
  const std::array<std::uint8_t, 1> type_byte = {static_cast<std::uint8_t>(type)};
  const Digest256 digest =
      Sha256().update(name).update("\n").update(type_byte).update(key).finish();
  std::uint32_t id = 0;
  for (std::size_t i = 0; i < 4; ++i) id = id << 8 | digest[i];
  return id;
}

std::string id_hex(std::uint32_t id) {
  std::array<std::uint8_t, 4> bytes;
  for (std::size_t i = 0; i < 4; ++i) bytes[i] = static_cast<std::uint8_t>(id >> (24 - 8 * i));
  return hex_encode(bytes);
}

struct Pieces {
  std::string_view name, id, material;
};

// '+' occurs in base64 too, so the first two divide.
bool cut(std::string_view text, Pieces& out) {
  const std::size_t first = text.find('+');
  if (first == std::string_view::npos) return false;
  const std::size_t second = text.find('+', first + 1);
  if (second == std::string_view::npos) return false;
  out = {text.substr(0, first), text.substr(first + 1, second - first - 1),
         text.substr(second + 1)};
  return out.id.size() == kIdDigits;
}

Result<NoteKeyType> key_type(std::uint8_t byte) {
  if (byte == static_cast<std::uint8_t>(NoteKeyType::kEd25519)) return NoteKeyType::kEd25519;
  if (byte == static_cast<std::uint8_t>(NoteKeyType::kCosignature)) {
    return NoteKeyType::kCosignature;
  }
  return fail(ErrorKind::kUnsupported, "vkey_unsupported",
              "key type " + std::to_string(byte) +
                  " is not supported; Ed25519 (1) and Ed25519 cosignature (4) are");
}

std::string_view without_newline(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

}  // namespace

Status check_key_name(std::string_view name) {
  if (name.empty()) return bad_name("is not empty");
  if (name.size() > kMaxKeyName) return bad_name("has at most 255 bytes");
  if (!utf8_valid(name)) return bad_name("is valid UTF-8");
  if (name.find('+') != std::string_view::npos) return bad_name("holds no '+'");
  const auto control = [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7F; };
  const bool spaced = std::any_of(kSpaces.begin(), kSpaces.end(), [&](std::string_view space) {
    return name.find(space) != std::string_view::npos;
  });
  if (spaced || std::any_of(name.begin(), name.end(), control)) {
    return bad_name("holds no space and no control character");
  }
  return {};
}

VerifierKey::VerifierKey(std::string name, NoteKeyType type, const Ed25519PublicKey& key)
    : name_(std::move(name)), type_(type), id_(key_id(name_, type, key)), key_(key) {}

Result<VerifierKey> VerifierKey::make(std::string_view name, NoteKeyType type,
                                      const Ed25519PublicKey& key) {
  FP_TRY(check_key_name(name));
  return VerifierKey(std::string(name), type, key);
}

Result<VerifierKey> VerifierKey::parse(std::string_view vkey) {
  const auto bad = [](const char* what) {
    return fail(ErrorKind::kInvalid, "vkey_invalid",
                std::string("a public key has the form name+id+base64; this one ") + what);
  };
  Pieces pieces;
  if (!cut(vkey, pieces)) return bad("has not");
  FP_TRY(check_key_name(pieces.name));
  const auto material = base64_decode(pieces.material);
  if (!material || material->empty()) return bad("has no valid base64");
  FP_ASSIGN(const NoteKeyType type, key_type(material->front()));
  if (material->size() != kKeyBytes) return bad("is not 33 bytes long in its base64 part");
  Ed25519PublicKey key;
  std::copy(material->begin() + 1, material->end(), key.begin());
  VerifierKey parsed(std::string(pieces.name), type, key);
  if (id_hex(parsed.id_) != pieces.id) return bad("has an id that does not fit name and key");
  return parsed;
}

std::string VerifierKey::id_text() const { return name_ + '+' + id_hex(id_); }

std::string VerifierKey::print() const {
  std::array<std::uint8_t, kKeyBytes> material;
  material[0] = static_cast<std::uint8_t>(type_);
  std::copy(key_.begin(), key_.end(), material.begin() + 1);
  return id_text() + '+' + base64_encode(material);
}

Result<SignerKey> SignerKey::generate(std::string_view name, NoteKeyType type) {
  Ed25519SecretKey secret = Ed25519SecretKey::generate();
  FP_ASSIGN(VerifierKey verifier, VerifierKey::make(name, type, secret.public_key()));
  return SignerKey(std::move(verifier), std::move(secret));
}

Result<SignerKey> SignerKey::parse(std::string_view text) {
  const auto bad = [](const char* what) {
    return fail(
        ErrorKind::kInvalid, "signer_key_invalid",
        std::string("a secret key has the form PRIVATE+KEY+name+id+base64; this one ") + what);
  };
  text = without_newline(text);
  if (!text.starts_with(kSecretPrefix)) return bad("has not");
  Pieces pieces;
  if (!cut(text.substr(kSecretPrefix.size()), pieces)) return bad("has not");
  FP_TRY(check_key_name(pieces.name));
  auto material = base64_decode(pieces.material);
  if (!material) return bad("has no valid base64");
  const SecretBytes bytes = SecretBytes::copy_of(*material);
  wipe(*material);
  if (bytes.size() != kKeyBytes) return bad("is not 33 bytes long in its base64 part");
  FP_ASSIGN(const NoteKeyType type, key_type(bytes.data()[0]));
  FP_ASSIGN(Ed25519SecretKey secret, Ed25519SecretKey::from_seed(bytes.span().subspan(1)));
  FP_ASSIGN(VerifierKey verifier, VerifierKey::make(pieces.name, type, secret.public_key()));
  if (id_hex(verifier.id()) != pieces.id) return bad("has an id that does not fit name and key");
  return SignerKey(std::move(verifier), std::move(secret));
}

Result<SignerKey> SignerKey::load(const std::string& path) {
  FP_ASSIGN(const SecretBytes text, read_secret_key_file(path));
  Result<SignerKey> key = parse(text.view());
  if (!key) key.error().message = "key file " + path + ": " + key.error().message;
  return key;
}

SecretBytes SignerKey::print() const {
  SecretBytes material(kKeyBytes);
  material.data()[0] = static_cast<std::uint8_t>(verifier_.type());
  const SecretBytes seed = secret_.seed();
  std::copy(seed.span().begin(), seed.span().end(), material.data() + 1);
  std::string encoded = base64_encode(material.span());
  std::string text;
  text.reserve(kSecretPrefix.size() + name().size() + kIdDigits + encoded.size() + 2);
  text.append(kSecretPrefix).append(verifier_.id_text()).append("+").append(encoded);
  SecretBytes printed = SecretBytes::copy_of(text);
  for (std::string* copy : {&encoded, &text}) {
    wipe(std::span(reinterpret_cast<std::uint8_t*>(copy->data()), copy->size()));
  }
  return printed;
}

Result<VerifierKey> load_verifier_key(const std::string& path) {
  FP_ASSIGN(const std::string text, read_public_key_file(path));
  Result<VerifierKey> key = VerifierKey::parse(without_newline(text));
  if (!key) key.error().message = "key file " + path + ": " + key.error().message;
  return key;
}

}  // namespace fieldprint
