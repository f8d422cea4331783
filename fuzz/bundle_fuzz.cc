// Sigstore bundles: read without trust, and never verified under a key that made none of them.
#include "anchor/bundle.h"
#include "core/check.h"
#include "fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<fieldprint::AnchorKey> keys{
      {"nobody", fieldprint::P256SecretKey::generate().public_key().pem()}};
  const std::string_view text = fuzz_text(data, size);
  const auto bundle = fieldprint::parse_bundle(text);
  if (!bundle) {
    FP_CHECK(!bundle.error().code.empty());
    return 0;
  }
  FP_CHECK(!fieldprint::verify_bundle(text, keys).has_value());
  return 0;
}
