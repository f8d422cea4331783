// The receipt of one response while the response is written: gathers texts, tokens and seeds,
// and issues when the generation is done.
//
// Thread rule: one thread, the connection's.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/response.h"
#include "http/state.h"
#include "ledger/receipt_book.h"

namespace fieldprint {

class ReceiptDraft {
 public:
  // body: the request's bytes as they came. The service must have a receipt book.
  ReceiptDraft(const ServerState& state, const char* endpoint, std::string_view body);

  const ReceiptSalt& salt() const { return receipt_.salt; }  // the fingerprint chains' too
  const std::string& id() const { return receipt_.id; }
  // The salted commitment of the request: may stand in the ledger.
  const std::string& request_commitment() const { return receipt_.request_digest; }

  void describe(const RequestBase& base, const std::string& response_id,
                const std::string& override_digest);
  void note(const DeltaEvent& event);
  void note(const RollbackEvent& event);
  void note(const ChoiceDoneEvent& event);
  // Signs, logs and stores it. Never fails the response: a receipt that could not be issued
  // is said to be missing, with the reason, and counted.
  ReceiptInfo issue(ServerState& state, const UsageReport& usage);

 private:
  void keep_chain(std::size_t choice, std::string chain);
  void describe_anchor(const ServiceContext& service, const UsageReport& usage);

  Receipt receipt_;
  std::vector<std::string> texts_;
  std::vector<std::string> chains_;  // ReceiptFile::chains
  std::size_t chain_bytes_ = 0;
};

// The anchor of that digest as this server knows it; none for "".
std::optional<AnchorStanding> standing_of(const ServiceContext& service, const std::string& digest);

}  // namespace fieldprint
