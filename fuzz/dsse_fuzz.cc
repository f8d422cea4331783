// An envelope that reads prints to a fixed point, and none passes for a key nobody has used.
#include "core/check.h"
#include "crypto/dsse.h"
#include "fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const fieldprint::SignerKey stranger =
      std::move(*fieldprint::SignerKey::generate("stranger", fieldprint::NoteKeyType::kEd25519));
  const auto envelope = fieldprint::dsse_parse(fuzz_text(data, size));
  if (!envelope) return 0;
  const std::string printed = fieldprint::dsse_print(*envelope);
  const auto again = fieldprint::dsse_parse(printed);
  FP_CHECK(again.has_value());
  FP_CHECK(fieldprint::dsse_print(*again) == printed);
  FP_CHECK(again->untrusted_payload == envelope->untrusted_payload);
  const fieldprint::VerifierKey keys[] = {stranger.verifier()};
  FP_CHECK(!fieldprint::dsse_verify(*envelope, envelope->payload_type, keys, 1));
  return 0;
}
