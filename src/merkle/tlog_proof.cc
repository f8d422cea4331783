#include "merkle/tlog_proof.h"

#include "codec/base64.h"
#include "merkle/proof.h"
#include "merkle/text.h"

namespace fieldprint {
namespace {

constexpr std::string_view kFirstLine = "c2sp.org/tlog-proof@v1";
constexpr std::string_view kExtra = "extra ";
constexpr std::string_view kIndex = "index ";

tl::unexpected<Error> invalid(const char* what) {
  return fail(ErrorKind::kInvalid, "tlog_proof_invalid", std::string("log proof: ") + what);
}

}  // namespace

std::string tlog_proof_print(const TlogProof& proof) {
  std::string text = std::string(kFirstLine) + "\n";
  if (proof.untrusted_extra) {
    text += std::string(kExtra) + base64_encode(*proof.untrusted_extra) + "\n";
  }
  text += std::string(kIndex) + std::to_string(proof.index) + "\n";
  for (const Digest256& hash : proof.hashes) text += print_hash(hash) + "\n";
  return text + "\n" + proof.checkpoint;
}

Result<TlogProof> tlog_proof_parse(std::string_view text) {
  if (text.size() > kMaxNoteBytes) {
    return fail(ErrorKind::kTooLarge, "note_too_large", "log proof: more than 1 MiB");
  }
  TlogProof proof;
  std::string_view line;
  if (!take_line(text, line) || line != kFirstLine) {
    return invalid("does not begin with c2sp.org/tlog-proof@v1");
  }
  if (!take_line(text, line)) return invalid("has no index");
  if (line.starts_with(kExtra)) {
    const auto extra = base64_decode(line.substr(kExtra.size()));
    if (!extra || extra->empty()) return invalid("the extra data is no base64, or empty");
    proof.untrusted_extra.emplace(extra->begin(), extra->end());
    if (!take_line(text, line)) return invalid("has no index");
  }
  if (!line.starts_with(kIndex) || !parse_decimal(line.substr(kIndex.size()), proof.index)) {
    return invalid("has no valid index");
  }
  while (true) {
    if (!take_line(text, line)) return invalid("no empty line before the checkpoint");
    if (line.empty()) break;
    if (proof.hashes.size() == kMaxProofHashes) return invalid("more than 63 hashes");
    if (!parse_hash(line, proof.hashes.emplace_back())) {
      return invalid("a hash is no base64 of 32 bytes");
    }
  }
  if (text.empty()) return invalid("has no checkpoint");
  proof.checkpoint = text;
  return proof;
}

Result<VerifiedCheckpoint> tlog_proof_verify(const TlogProof& proof, const Digest256& leaf,
                                             const Policy& policy) {
  FP_ASSIGN(VerifiedCheckpoint verified, policy.open(proof.checkpoint));
  FP_TRY(check_inclusion(proof.index, verified.checkpoint.size, leaf, proof.hashes,
                         verified.checkpoint.root));
  return verified;
}

}  // namespace fieldprint
