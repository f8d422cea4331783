// A proof that reads prints to the same bytes; no policy without logs accepts it.
#include "core/check.h"
#include "fuzz/input.h"
#include "merkle/tlog_proof.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const fieldprint::Policy nobody = *fieldprint::Policy::parse("quorum none\n");
  const std::string_view text = fuzz_text(data, size);
  const auto proof = fieldprint::tlog_proof_parse(text);
  if (!proof) return 0;
  FP_CHECK(fieldprint::tlog_proof_print(*proof) == text);
  FP_CHECK(!fieldprint::tlog_proof_verify(*proof, fieldprint::leaf_hash(text), nobody));
  return 0;
}
