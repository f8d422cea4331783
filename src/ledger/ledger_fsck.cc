// fsck: the database against the files.
#include <algorithm>

#include "ledger/ledger_db.h"
#include "ledger/ledger_verify.h"
#include "ledger/tree_walk.h"
#include "merkle/checkpoint.h"

namespace fieldprint {
namespace {

constexpr std::size_t kMaxNames = 1'000'000;
constexpr std::size_t kMaxPendingBytes = std::size_t{1} << 30;
constexpr int kMaxTileDepth = 24;  // tile/<L>/x/x/x/x/x/x/<N>.p/<W> is far less

void check_identity(LedgerDb& db, const LedgerTrust& trust, LedgerReport& report) {
  const Result<LedgerIdentity> identity = db.identity();
  if (!identity)
    return add_finding(report, {"database_corrupt", "ledger.db", identity.error().message});
  const bool known =
      std::any_of(trust.log_keys.begin(), trust.log_keys.end(),
                  [&](const VerifierKey& key) { return key.print() == identity->log_key; });
  if (!known || identity->origin != trust.origin)
    add_finding(report, {"database_keys", "ledger.db",
                         "it belongs to the log " + identity->origin + " with key " +
                             identity->log_key + ", not to the keys given"});
}

void check_published(LedgerDb& db, const LedgerTrust& trust, LedgerReport& report) {
  const Result<PublishedState> state = db.published();
  if (!state) return add_finding(report, {"database_corrupt", "ledger.db", state.error().message});
  for (const std::string* text : {&state->checkpoint, &state->witnessed}) {
    if (text->empty()) continue;
    const auto opened = open_checkpoint(*text, trust.origin, trust.log_keys, trust.cosigners);
    if (!opened) add_finding(report, {"published_invalid", "ledger.db", opened.error().message});
  }
}

// Leaves that wait: without gap from the last full bundle to the next index, and those that
// are in the tree already equal to what it holds.
void check_pending(LedgerDb& db, const TreeEdge& tree, LedgerReport& report) {
  const Result<std::uint64_t> next = db.next_index();
  const std::uint64_t first = tree.size() / kTileWidth * kTileWidth;
  if (!next) return add_finding(report, {"database_corrupt", "ledger.db", next.error().message});
  if (*next == first) return;
  const auto leaves = db.pending(first, kMaxPendingBytes);
  if (!leaves) return add_finding(report, {"pending_gap", "ledger.db", leaves.error().message});
  if (first + leaves->size() != *next)
    add_finding(report, {"pending_gap", "ledger.db",
                         "leaves are there up to " + std::to_string(first + leaves->size()) +
                             ", indices were given out up to " + std::to_string(*next)});
  for (std::size_t i = 0; i < leaves->size(); ++i) {
    const std::string name = "entry " + std::to_string(first + i);
    if (first + i < tree.size() && leaf_hash((*leaves)[i]) != tree.levels()[0][i])
      add_finding(report, {"pending_mismatch", name, "the database holds another leaf here"});
    const Result<Entry> entry = parse_entry((*leaves)[i]);
    if (!entry) {
      add_finding(report, {"entry_invalid", name, entry.error().message});
      continue;
    }
    const Result<bool> listed = is_indexed(entry->kind)
                                    ? db.indexed(entry->kind, entry->subject, first + i)
                                    : Result<bool>(true);
    if (first + i >= tree.size() && listed && !*listed)
      add_finding(report, {"index_missing", name, "find() would not find it"});
  }
}

void check_index_size(LedgerDb& db, const LedgerReport& walked, std::uint64_t tree_size,
                      LedgerReport& report) {
  std::uint64_t indexed = 0;
  for (const auto& [kind, count] : walked.kinds)
    if (is_indexed(kind)) indexed += count;
  const Result<std::uint64_t> rows = db.index_rows(tree_size);
  if (rows && *rows > indexed)
    add_finding(report, {"index_extra", "ledger.db",
                         "the index has " + std::to_string(*rows) + " rows for " +
                             std::to_string(indexed) + " entries"});
}

void find_strays(Env& env, const std::string& dir, const std::string& below, int depth,
                 LedgerReport& report) {
  const Result<std::vector<std::string>> names = env.list_dir(dir + below, kMaxNames);
  if (!names || depth > kMaxTileDepth) return;  // a file
  for (const std::string& name : *names) {
    const std::string path = std::string(below).append("/").append(name);
    if (name.find(".tmp") != std::string::npos)
      add_finding(report, {"stray_file", path.substr(1),
                           "left by a write that was cut off; it may be removed while no "
                           "process has the ledger open",
                           true});
    else if (below.empty() ? name == "tile" : true)
      find_strays(env, dir, path, depth + 1, report);
  }
}

}  // namespace

Result<LedgerReport> fsck_ledger(Env& env, const std::string& dir, const LedgerTrust& trust) {
  LedgerReader reader(env, dir, trust);
  LedgerReport report;
  FP_ASSIGN(report.checkpoint, reader.checkpoint());
  Result<LedgerDb> opened =
      LedgerDb::open(env, dir + "/ledger.db", DatabaseMode::kReadOnly, std::chrono::seconds(10));
  if (!opened && opened.error().code == "database_missing")
    return fail(ErrorKind::kNotFound, "ledger_missing",
                dir + ": no ledger.db; an exported folder is checked with 'ledger verify'");
  if (!opened) return tl::unexpected(opened.error());
  LedgerDb& db = *opened;
  FP_TRY(db.database().execute("BEGIN"));  // one view of the database, others may append
  FP_ASSIGN(const std::vector<std::string> faults, db.database().integrity_faults());
  for (const std::string& fault : faults)
    add_finding(report, {"database_corrupt", "ledger.db", fault});
  check_identity(db, trust, report);
  check_published(db, trust, report);

  const Result<TreeEdge> tree = db.tree();
  if (!tree) {
    add_finding(report, {"database_tree", "ledger.db", tree.error().message});
    return report;
  }
  if (tree->size() < report.checkpoint.size)
    add_finding(report, {"database_behind", "ledger.db",
                         "it has " + std::to_string(tree->size()) + " entries, the checkpoint " +
                             std::to_string(report.checkpoint.size) + ": an old copy"});
  const std::uint64_t size = std::max(tree->size(), report.checkpoint.size);
  std::map<std::uint64_t, Digest256> roots{{tree->size(), empty_root()},
                                           {report.checkpoint.size, empty_root()}};
  const auto in_index = [&](std::uint64_t index, const Entry& entry) -> Status {
    if (!is_indexed(entry.kind) || index >= tree->size()) return {};
    FP_ASSIGN(const bool listed, db.indexed(entry.kind, entry.subject, index));
    if (listed) return {};
    return fail(ErrorKind::kCorrupt, "index_missing", "find() would not find it");
  };
  TreeWalk walk(env, dir);
  FP_ASSIGN(const bool whole, walk.walk(size, roots, in_index, report));
  if (whole && roots.at(report.checkpoint.size) != report.checkpoint.root)
    add_finding(report, {"root_mismatch", "checkpoint",
                         "the entries lead to another root than the one that was signed"});
  if (whole && roots.at(tree->size()) != tree->root())
    add_finding(report, {"database_tree", "ledger.db",
                         "its tree of " + std::to_string(tree->size()) +
                             " entries is not the one in the tiles"});
  check_pending(db, *tree, report);
  if (whole) check_index_size(db, report, tree->size(), report);
  find_strays(env, dir, "", 0, report);
  return report;
}

}  // namespace fieldprint
