#include "ledger/receipt_book.h"

#include <filesystem>
#include <utility>

#include "codec/hex.h"
#include "core/check.h"
#include "crypto/dsse.h"
#include "crypto/secret.h"

namespace fieldprint {
namespace {

constexpr std::size_t kPrefix = 4;          // "fpr-"
constexpr std::size_t kMaxPending = 65536;  // then the oldest ids look as if they were lost

tl::unexpected<Error> not_as_issued(std::string_view id) {
  return fail(ErrorKind::kCorrupt, "receipt_corrupt",
              "the stored receipt " + std::string(id) + " is not what was issued");
}

}  // namespace

const char* durability_name(Durability state) {
  switch (state) {
    case Durability::kAcknowledged:
      return "acknowledged";
    case Durability::kDurable:
      return "durable";
    case Durability::kIntegrated:
      return "integrated";
    case Durability::kWitnessed:
      return "witnessed";
  }
  FP_UNREACHABLE();
}

Result<std::unique_ptr<ReceiptBook>> ReceiptBook::open(Env& env, std::string dir, Ledger& ledger,
                                                       SignerKey log_key) {
  if (log_key.name() != ledger.origin() || log_key.verifier().type() != NoteKeyType::kEd25519) {
    return fail(ErrorKind::kInvalid, "ledger_keys_mismatch",
                "receipts of the log '" + ledger.origin() + "' cannot be signed with the key '" +
                    log_key.name() + "'");
  }
  FP_TRY(make_dirs_durably(env, dir));
  // The salts inside let their reader test guesses of what was said.
  std::error_code error;
  std::filesystem::permissions(dir, std::filesystem::perms::owner_all, error);
  if (error) {
    return fail(ErrorKind::kIo, "io_error",
                dir + ": cannot be made private (" + error.message() + ")");
  }
  return std::unique_ptr<ReceiptBook>(
      new ReceiptBook(env, std::move(dir), ledger, std::move(log_key)));
}

std::string ReceiptBook::draw_id() { return "fpr-" + hex_encode(random_array<16>()); }

ReceiptSalt ReceiptBook::draw_salt() { return random_array<kReceiptSaltBytes>(); }

std::string ReceiptBook::path_of(std::string_view id) const {
  std::string path = dir_;
  path += '/';
  path += id.substr(kPrefix, 2);
  path += '/';
  path += id;
  return path + ".json";
}

Status ReceiptBook::append(const Entry& entry) {
  FP_ASSIGN([[maybe_unused]] const Ticket ticket, ledger_.append(entry));
  const std::lock_guard lock(mutex_);
  if (pending_.size() >= kMaxPending) pending_.erase(pending_.begin());
  pending_.insert(entry.subject);
  return {};
}

Status ReceiptBook::issue(const Receipt& receipt, std::vector<std::string> chains) {
  std::size_t bytes = 0;
  for (const std::string& chain : chains) bytes += chain.size();
  if (bytes > kReceiptMaxChainBytes) {
    return fail(ErrorKind::kTooLarge, "receipt_too_large",
                "the fingerprint chains of a receipt have at most " +
                    std::to_string(kReceiptMaxChainBytes) + " bytes together");
  }
  FP_ASSIGN(const std::string payload, print_receipt(receipt));
  FP_ASSIGN(const Entry entry, receipt_entry(receipt, payload));
  ReceiptFile file;
  file.id = receipt.id;
  file.envelope = dsse_print(dsse_sign(kReceiptPayloadType, payload, log_key_));
  file.chains = std::move(chains);
  FP_TRY(append(entry));  // the log's threads work while the file is written
  return write_file_durably(env_, path_of(receipt.id), print_receipt_file(file));
}

// The leaf that a stored envelope must have.
Result<Entry> ReceiptBook::entry_of(const std::string& envelope) const {
  FP_ASSIGN(const DsseEnvelope parsed, dsse_parse(envelope));
  FP_ASSIGN(const DsseVerified verified,
            dsse_verify(parsed, kReceiptPayloadType, {&log_key_.verifier(), 1}, 1));
  FP_ASSIGN(const Receipt receipt, parse_receipt(verified.payload));
  return receipt_entry(receipt, verified.payload);
}

Result<ReceiptBook::Found> ReceiptBook::find(std::string_view id) {
  if (!is_receipt_id(id)) {
    return fail(ErrorKind::kInvalid, "receipt_id_invalid",
                "a receipt's id is fpr- and 32 hex digits");
  }
  const auto bytes = env_.read_file(path_of(id), kReceiptMaxFileBytes);
  if (!bytes && bytes.error().code == "file_missing") {
    return fail(ErrorKind::kNotFound, "receipt_not_found",
                "there is no receipt " + std::string(id) +
                    "; a response that is still being written has none yet");
  }
  if (!bytes) return tl::unexpected(bytes.error());
  Result<ReceiptFile> stored =
      parse_receipt_file({reinterpret_cast<const char*>(bytes->data()), bytes->size()});
  if (!stored || stored->id != id) return not_as_issued(id);
  Found found;
  found.file = std::move(*stored);
  FP_TRY(complete(found, id));
  found.file.state = durability_name(found.state);
  return found;
}

// Adds what the log knows.
Status ReceiptBook::complete(Found& found, std::string_view id) {
  FP_ASSIGN(const auto entry, ledger_.find(EntryKind::kReceipt, id));
  if (!entry) {
    {
      const std::lock_guard lock(mutex_);
      if (pending_.contains(id)) return {};
    }
    const auto lost = entry_of(found.file.envelope);
    if (!lost || lost->subject != id) {
      return not_as_issued(id);
    }
    return append(*lost);
  }
  {
    const std::lock_guard lock(mutex_);
    pending_.erase(std::string(id));
  }
  found.index = entry->index;
  found.state = Durability::kDurable;
  auto proof = ledger_.prove_text(entry->index);
  if (!proof && proof.error().code == "ledger_not_integrated") return {};
  if (!proof) return tl::unexpected(proof.error());
  FP_ASSIGN(found.file.leaf, ledger_.read_leaf(entry->index));
  found.file.proof = std::move(*proof);
  found.state = Durability::kIntegrated;
  const auto witnessed = ledger_.witnessed_checkpoint();
  if (witnessed && witnessed->size > entry->index) found.state = Durability::kWitnessed;
  return {};
}

}  // namespace fieldprint
