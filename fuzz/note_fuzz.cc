// A note that reads prints to the same bytes; nobody's signature holds on a stranger's text.
#include "core/check.h"
#include "fuzz/input.h"
#include "merkle/note.h"

namespace {

// The RFC 8032 TEST 1 and 2 keys, as in the seeds.
const std::vector<fieldprint::VerifierKey>& keys() {
  static const std::vector<fieldprint::VerifierKey> keys = {
      *fieldprint::VerifierKey::parse(
          "example.com/log+cc714670+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea"),
      *fieldprint::VerifierKey::parse(
          "witness.example.com/w1+e8498172+BD1AF8PoQ4lakrcKp00bfrycmCzPLsSWjMDNVfEq9GYM")};
  return keys;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz_text(data, size);
  const auto note = fieldprint::note_parse(text);
  if (note) {
    FP_CHECK(fieldprint::note_print(*note) == text);
    FP_CHECK(!note->signatures.empty());
    FP_CHECK(note->signatures.size() <= fieldprint::kMaxNoteSignatures);
    const auto verified = fieldprint::note_verify(*note, keys());
    FP_CHECK(!verified || !verified->empty());
  }
  const auto lines = fieldprint::parse_signature_lines(text);
  if (!lines) return 0;
  std::string printed;
  for (const auto& signature : *lines) printed += fieldprint::signature_line(signature);
  FP_CHECK(printed == text);
  return 0;
}
