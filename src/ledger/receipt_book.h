// Issues receipts and keeps them: signs, commits to the log, stores the envelope.
//
//   <dir>/<2 hex>/<id>.json   a receipt's file with envelope and chains. Leaf and proof in it are
//                             empty: they come from the ledger, always those of the newest tree.
//
// A receipt whose leaf was lost before it was durable (a crash) is appended again when it is
// asked for. Thread rule: any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "crypto/note_key.h"
#include "ledger/ledger.h"
#include "ledger/receipt.h"
#include "store/env.h"

namespace fieldprint {

class ReceiptBook {
 public:
  // The ledger must outlive the book. log_key: the ledger's own log key. Errors:
  // ledger_keys_mismatch (the key's name is not the log's origin), those of Env.
  static Result<std::unique_ptr<ReceiptBook>> open(Env& env, std::string dir, Ledger& ledger,
                                                   SignerKey log_key);

  const std::string& origin() const { return log_key_.name(); }
  static std::string draw_id();
  static ReceiptSalt draw_salt();

  // Returns when the leaf is acknowledged and the file is on disk. chains: ReceiptFile::chains, at
  // most kReceiptMaxChainBytes together. Errors: receipt_too_large, those of print_receipt,
  // Ledger::append and Env.
  Status issue(const Receipt& receipt, std::vector<std::string> chains);

  struct Found {
    Durability state = Durability::kAcknowledged;
    std::uint64_t index = 0;  // from kDurable on
    ReceiptFile file;         // leaf and proof from kIntegrated on
  };
  // Errors: receipt_id_invalid, receipt_not_found, receipt_corrupt, those of the ledger and Env.
  Result<Found> find(std::string_view id);

 private:
  ReceiptBook(Env& env, std::string dir, Ledger& ledger, SignerKey log_key)
      : env_(env), dir_(std::move(dir)), ledger_(ledger), log_key_(std::move(log_key)) {}
  std::string path_of(std::string_view id) const;
  Status append(const Entry& entry);
  Result<Entry> entry_of(const std::string& envelope) const;
  Status complete(Found& found, std::string_view id);

  Env& env_;
  const std::string dir_;
  Ledger& ledger_;
  const SignerKey log_key_;
  std::mutex mutex_;
  std::set<std::string, std::less<>> pending_;  // appended by this process, not yet seen durable
};

const char* durability_name(Durability state);  // "acknowledged", ...

}  // namespace fieldprint
