// Texts of the C2SP tlog-witness protocol: POST <witness>/add-checkpoint. Texts only; who asks
// and who answers is src/ledger.
//
//   request  = "old " size "\n" *63( base64(hash) "\n" ) "\n" checkpoint
//   200      = 1*signature-line (parse_signature_lines in note.h)
//   409      = size "\n", Content-Type text/x.tlog.size: the size the witness holds
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "merkle/hash.h"

namespace fieldprint {

inline constexpr std::string_view kTlogSizeType = "text/x.tlog.size";

struct AddCheckpointRequest {
  std::uint64_t old_size = 0;
  std::vector<Digest256> proof;  // consistency, old size to checkpoint
  std::string checkpoint;        // signed note, not verified here
};

std::string print_add_checkpoint(const AddCheckpointRequest& request);
// Errors: witness_request_invalid, note_too_large.
Result<AddCheckpointRequest> parse_add_checkpoint(std::string_view body);

std::string print_tlog_size(std::uint64_t size);
// Errors: witness_response_invalid.
Result<std::uint64_t> parse_tlog_size(std::string_view body);

}  // namespace fieldprint
