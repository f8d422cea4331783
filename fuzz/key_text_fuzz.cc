// The texts of key files: note-form public and secret keys, and PEM.
#include "core/check.h"
#include "crypto/note_key.h"
#include "crypto/p256.h"
#include "fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace fieldprint;
  const std::string_view text = fuzz_text(data, size);
  if (const auto key = VerifierKey::parse(text)) FP_CHECK(key->print() == text);
  if (const auto key = SignerKey::parse(text)) {
    const std::string_view printed = text.ends_with('\n') ? text.substr(0, size - 1) : text;
    FP_CHECK(key->print().view() == printed);
    FP_CHECK(ed25519_verify(key->verifier().key(), "text", key->sign("text")));
  }
  if (const auto key = P256PublicKey::from_pem(text)) {
    FP_CHECK(P256PublicKey::from_der(key->der())->pem() == key->pem());
    FP_CHECK(!key->verify(text, {data, size}));
  }
  if (const auto key = P256SecretKey::from_pem(text)) {
    FP_CHECK(key->public_key().verify("text", key->sign("text")));
  }
  return 0;
}
