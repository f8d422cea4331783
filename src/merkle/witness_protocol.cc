#include "merkle/witness_protocol.h"

#include "merkle/note.h"
#include "merkle/proof.h"
#include "merkle/text.h"

namespace fieldprint {
namespace {

constexpr std::string_view kOld = "old ";

tl::unexpected<Error> invalid(const char* what) {
  return fail(ErrorKind::kInvalid, "witness_request_invalid",
              std::string("add-checkpoint request: ") + what);
}

}  // namespace

std::string print_add_checkpoint(const AddCheckpointRequest& request) {
  std::string body = std::string(kOld) + std::to_string(request.old_size) + "\n";
  for (const Digest256& hash : request.proof) body += print_hash(hash) + "\n";
  return body + "\n" + request.checkpoint;
}

Result<AddCheckpointRequest> parse_add_checkpoint(std::string_view body) {
  if (body.size() > kMaxNoteBytes) {
    return fail(ErrorKind::kTooLarge, "note_too_large", "add-checkpoint request: more than 1 MiB");
  }
  AddCheckpointRequest request;
  std::string_view line;
  if (!take_line(body, line) || !line.starts_with(kOld) ||
      !parse_decimal(line.substr(kOld.size()), request.old_size)) {
    return invalid("does not begin with 'old' and a size");
  }
  while (true) {
    if (!take_line(body, line)) return invalid("no empty line before the checkpoint");
    if (line.empty()) break;
    if (request.proof.size() == kMaxProofHashes) return invalid("more than 63 proof lines");
    if (!parse_hash(line, request.proof.emplace_back())) {
      return invalid("a proof line is no base64 of 32 bytes");
    }
  }
  if (body.empty()) return invalid("has no checkpoint");
  request.checkpoint = body;
  return request;
}

std::string print_tlog_size(std::uint64_t size) { return std::to_string(size) + "\n"; }

Result<std::uint64_t> parse_tlog_size(std::string_view body) {
  std::uint64_t size = 0;
  std::string_view line;
  if (!take_line(body, line) || !body.empty() || !parse_decimal(line, size)) {
    return fail(ErrorKind::kInvalid, "witness_response_invalid",
                "the witness answered 409 without a tree size");
  }
  return size;
}

}  // namespace fieldprint
