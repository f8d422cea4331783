// Native forms of the responses, and their printers: one line of JSON each.
//
// Bytes that are not UTF-8 print as U+FFFD; everything else prints exactly.
// Thread rule: free functions are pure; a ResponsePrinter belongs to one response.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "api/request.h"
#include "core/error.h"
#include "engine/anchor_service.h"
#include "engine/engine.h"
#include "engine/request.h"
#include "engine/session_store.h"
#include "supervisor/pacemaker.h"

namespace fieldprint {

enum class AnchorTrust : std::uint8_t {
  kInsecure,  // --insecure-anchors: nobody vouched for it
  kPromoted,  // signed, promoted, in the ledger
};
const char* anchor_trust_name(AnchorTrust trust);  // "insecure", "promoted"

// The anchor in front of every request, as it is shown to clients.
struct AnchorInfo {
  std::string digest;  // "sha256:<hex>" of anchor.json
  std::string name;
  std::string mode;         // "joint", "gated", "floored"
  std::string wrap;         // AnchorRecipe::wrap
  std::int32_t tokens = 0;  // logical length T
  AnchorTrust trust = AnchorTrust::kInsecure;
  std::string promotion = {};  // digest of the promotion statement; empty if insecure
};

// The receipt of a response, as far as it is there when the response is written.
struct ReceiptInfo {
  std::string id;
  std::string state;  // "acknowledged", or "failed"
  std::string code;   // why it failed
};

// The session that an answer was kept in.
struct SessionInfo {
  std::string id;
  std::uint64_t turn = 0;   // its number, from 1
  std::uint64_t token = 0;  // tokens of the turn's answer
};

struct ResponseHead {
  std::string id;
  std::int64_t created = 0;  // Unix seconds
  std::string model;         // the name the client asked for
  std::string system_fingerprint;
};

// What the `fieldprint` block of a response says beside OpenAI's fields.
struct Evidence {
  std::optional<AnchorInfo> anchor;  // in front at the end
  std::string override_digest;       // statement that let it run without; empty: none
  std::optional<ReceiptInfo> receipt;
  UsageReport usage;
  std::string profile;               // numeric profile
  std::vector<std::uint64_t> seeds;  // one per choice
  std::vector<std::string> ignored_fields;
  std::size_t ignored_count = 0;
  // One per choice, null for one that was not supervised. Empty: none was.
  std::vector<std::shared_ptr<const SupervisionReport>> supervision;
  TimelineWanted timeline = TimelineWanted::kOff;
  std::optional<SessionInfo> session;
};

struct ChoiceResult {
  std::string text;
  std::vector<TokenLogprob> logprobs;
  FinishReason reason = FinishReason::kStop;
};

// Prints one response, whole or as stream chunks (JSON only, without "data: ").
class ResponsePrinter {
 public:
  virtual ~ResponsePrinter() = default;
  virtual std::string whole(std::span<const ChoiceResult> choices, const Evidence& evidence) = 0;
  // First chunk of a choice; nullopt where the format has none.
  virtual std::optional<std::string> opening(std::int32_t choice) = 0;
  virtual std::string delta(const DeltaEvent& event) = 0;
  // Data of a rollback event. ordinal: which of this choice's, from 1. It is a chunk without
  // choices, so that a client that reads every event as a chunk finds nothing to add.
  virtual std::string rollback(const RollbackEvent& event, std::uint32_t ordinal) = 0;
  // evidence: given on the last choice to finish, else null.
  virtual std::string finish(const ChoiceDoneEvent& event, const Evidence* evidence) = 0;
  virtual std::string usage(const UsageReport& usage) = 0;
};
std::unique_ptr<ResponsePrinter> make_chat_printer(ResponseHead head, const RequestBase& base);
std::unique_ptr<ResponsePrinter> make_completion_printer(ResponseHead head,
                                                         const RequestBase& base);

// {"error":{message,type,param,code}}. percent: added while a model loads.
std::string print_error(const Error& error, std::optional<int> percent = std::nullopt);

struct ModelCard {
  std::string id;    // this name
  std::string root;  // the model's own name, when id is an alias of it
  std::int64_t created = 0;
  std::string digest;
  std::int32_t max_model_len = 0;
  std::optional<AnchorInfo> anchor;
  ModelConfig config;
};
std::string print_model(const ModelCard& card);
std::string print_model_list(std::span<const ModelCard> cards);

struct TokenizeResponse {
  std::vector<TokenId> tokens;
  std::optional<std::vector<std::string>> token_strs;  // bytes of each token
  std::int32_t max_model_len = 0;
};
std::string print_tokenize(const TokenizeResponse& response);
std::string print_detokenize(const std::string& text);

// GET /v1/fieldprint/anchors. front: what stands in front; supervision: what it is measured by,
// null for nothing.
std::string print_anchor_report(const AnchorReport& report, const std::optional<AnchorInfo>& front,
                                const SupervisionModel* supervision);
std::string print_revocation(const RevocationReceipt& receipt);
AnchorInfo anchor_info(const AnchorStanding& standing);

// GET /v1/fieldprint/sessions and .../{id}. answers: text of each turn's answer. idle_seconds:
// after which the session is forgotten.
std::string print_session_list(std::span<const SessionView> sessions, std::int64_t idle_seconds);
std::string print_session(const SessionView& session, std::span<const std::string> answers,
                          std::int64_t idle_seconds);
// What rollback, fork and checkpoint answer: id, end and parent.
std::string print_session_head(const Session& session);
std::string print_session_deleted(const std::string& id);

// GET /v1/fieldprint/pacemaker.
std::string print_pacemaker(std::span<const PacemakerReport> reports);

// Text of each choice in a response body of ours or OpenAI's: whole JSON, or a stream of
// "data:" lines, rollbacks carried out. Errors: response_invalid.
Result<std::vector<std::string>> response_texts(std::string_view body);

// {"status":"ok"} and the like.
std::string print_status(const std::string& status);
std::string print_version(const std::string& build_version);

}  // namespace fieldprint
