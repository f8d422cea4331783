#include "ledger/ledger_db.h"

#include <algorithm>
#include <limits>

#include "core/check.h"
#include "merkle/entry_bundle.h"

namespace fieldprint {
namespace {

constexpr std::int64_t kSchemaVersion = 1;

// One row of `pending` holds at most this much, so that few full bundles stay behind in it.
constexpr std::size_t kRowLeaves = 4096;
constexpr std::size_t kRowBytes = std::size_t{4} << 20;

constexpr const char* kSchema = R"sql(
CREATE TABLE identity(id INTEGER PRIMARY KEY CHECK(id = 1), origin TEXT NOT NULL,
  log_key TEXT NOT NULL, cosigner_key TEXT NOT NULL) STRICT;
CREATE TABLE sequencer(id INTEGER PRIMARY KEY CHECK(id = 1), next_index INTEGER NOT NULL) STRICT;
CREATE TABLE pending(first INTEGER PRIMARY KEY, count INTEGER NOT NULL, leaves BLOB NOT NULL)
  STRICT;
CREATE TABLE tree(id INTEGER PRIMARY KEY CHECK(id = 1), size INTEGER NOT NULL,
  edge BLOB NOT NULL) STRICT;
CREATE TABLE published(id INTEGER PRIMARY KEY CHECK(id = 1), size INTEGER NOT NULL,
  time_s INTEGER NOT NULL, checkpoint TEXT NOT NULL, witnessed_size INTEGER NOT NULL,
  witnessed TEXT NOT NULL) STRICT;
CREATE TABLE entry_index(kind INTEGER NOT NULL, subject TEXT NOT NULL, leaf INTEGER NOT NULL,
  PRIMARY KEY(kind, subject, leaf)) STRICT, WITHOUT ROWID;
CREATE TABLE witness(key TEXT PRIMARY KEY, size INTEGER NOT NULL) STRICT;
INSERT INTO sequencer VALUES(1, 0);
INSERT INTO tree VALUES(1, 0, x'');
INSERT INTO published VALUES(1, 0, 0, '', 0, '');
PRAGMA user_version = 1;
)sql";

tl::unexpected<Error> corrupt(const std::string& what) {
  return fail(ErrorKind::kCorrupt, "ledger_corrupt",
              "ledger.db: " + what + "; run 'ledger fsck' for the extent");
}

std::span<const std::uint8_t> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
std::string_view as_text(std::span<const std::uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Takes the next leaf off a row. Errors: ledger_corrupt.
Result<std::string_view> take_leaf(std::string_view& row) {
  if (row.size() < 2) return corrupt("a row of pending leaves is cut short");
  const std::size_t size = (static_cast<std::size_t>(static_cast<std::uint8_t>(row[0])) << 8) |
                           static_cast<std::uint8_t>(row[1]);
  if (row.size() - 2 < size) return corrupt("a row of pending leaves is cut short");
  const std::string_view leaf = row.substr(2, size);
  row.remove_prefix(2 + size);
  return leaf;
}

// The leaves of one row from `skip` on.
Result<std::vector<std::string>> split_row(std::string_view row, std::uint64_t count,
                                           std::uint64_t skip) {
  std::vector<std::string> leaves;
  for (std::uint64_t i = 0; i < count; ++i) {
    FP_ASSIGN(const std::string_view leaf, take_leaf(row));
    if (i >= skip) leaves.emplace_back(leaf);
  }
  if (!row.empty()) return corrupt("a row of pending leaves is too long");
  return leaves;
}

}  // namespace

Result<LedgerDb> LedgerDb::open(Env& env, const std::string& path, DatabaseMode mode,
                                std::chrono::milliseconds busy_timeout) {
  DatabaseOptions options;
  options.mode = mode;
  options.vfs = env.sqlite_vfs();
  options.busy_timeout = busy_timeout;
  FP_ASSIGN(Database database, Database::open(path, options));
  return LedgerDb(std::move(database));
}

Result<std::uint64_t> LedgerDb::one_integer(const char* sql) {
  FP_ASSIGN(SqlStatement query, database_.prepare(sql));
  FP_ASSIGN(const bool row, query.step());
  if (!row) return corrupt("a table has lost its row");
  const std::int64_t value = query.integer(0);
  if (value < 0) return corrupt("a negative size");
  return static_cast<std::uint64_t>(value);
}

Status LedgerDb::initialize(const LedgerIdentity& identity, const NewLeaf& genesis) {
  FP_ASSIGN(Transaction transaction, Transaction::begin(database_));
  FP_ASSIGN(const std::uint64_t version, one_integer("PRAGMA user_version"));
  if (version != 0) return {};
  FP_TRY(database_.execute(kSchema));
  FP_ASSIGN(SqlStatement insert, database_.prepare("INSERT INTO identity VALUES(1, ?, ?, ?)"));
  FP_TRY(insert.bind(1, identity.origin)
             .bind(2, identity.log_key)
             .bind(3, identity.cosigner_key)
             .run());
  FP_TRY(insert_leaves({&genesis, 1}, 0));
  FP_TRY(database_.execute("UPDATE sequencer SET next_index = 1"));
  return transaction.commit();
}

Result<LedgerIdentity> LedgerDb::identity() {
  FP_ASSIGN(const std::uint64_t version, one_integer("PRAGMA user_version"));
  if (version == 0)
    return fail(ErrorKind::kNotFound, "ledger_missing",
                "ledger.db holds no ledger; make one with 'fieldprint ledger init'");
  if (version != kSchemaVersion)
    return fail(ErrorKind::kUnsupported, "ledger_version",
                "ledger.db has version " + std::to_string(version) + ", this program knows 1");
  FP_ASSIGN(SqlStatement query,
            database_.prepare("SELECT origin, log_key, cosigner_key FROM identity"));
  FP_ASSIGN(const bool row, query.step());
  if (!row) return corrupt("the identity is missing");
  return LedgerIdentity{std::string(query.text(0)), std::string(query.text(1)),
                        std::string(query.text(2))};
}

Status LedgerDb::insert_leaves(std::span<const NewLeaf> leaves, std::uint64_t first) {
  FP_ASSIGN(SqlStatement insert_pending,
            database_.prepare("INSERT INTO pending(first, count, leaves) VALUES(?, ?, ?)"));
  FP_ASSIGN(SqlStatement insert_index,
            database_.prepare("INSERT INTO entry_index(kind, subject, leaf) VALUES(?, ?, ?)"));
  std::string row;
  std::size_t row_leaves = 0;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    const NewLeaf& leaf = leaves[i];
    FP_TRY(append_entry(row, leaf.bytes));
    ++row_leaves;
    if (is_indexed(leaf.kind))
      FP_TRY(insert_index.bind(1, static_cast<std::int64_t>(leaf.kind))
                 .bind(2, leaf.subject)
                 .bind(3, static_cast<std::int64_t>(first + i))
                 .run());
    if (i + 1 < leaves.size() && row_leaves < kRowLeaves && row.size() < kRowBytes) continue;
    FP_TRY(insert_pending.bind(1, static_cast<std::int64_t>(first + i + 1 - row_leaves))
               .bind(2, static_cast<std::int64_t>(row_leaves))
               .bind(3, as_bytes(row))
               .run());
    row.clear();
    row_leaves = 0;
  }
  return {};
}

Result<std::uint64_t> LedgerDb::append(std::span<const NewLeaf> leaves) {
  FP_ASSIGN(Transaction transaction, Transaction::begin(database_));
  FP_ASSIGN(const std::uint64_t first, next_index());
  FP_TRY(insert_leaves(leaves, first));
  FP_ASSIGN(SqlStatement update, database_.prepare("UPDATE sequencer SET next_index = ?"));
  FP_TRY(update.bind(1, static_cast<std::int64_t>(first + leaves.size())).run());
  FP_TRY(transaction.commit());
  return first;
}

Result<std::uint64_t> LedgerDb::next_index() {
  return one_integer("SELECT next_index FROM sequencer");
}

Result<std::vector<std::string>> LedgerDb::pending(std::uint64_t first, std::size_t max_bytes) {
  FP_ASSIGN(SqlStatement query,
            database_.prepare("SELECT first, count, leaves FROM pending WHERE first >= "
                              "(SELECT coalesce(max(first), 0) FROM pending WHERE first <= ?) "
                              "ORDER BY first"));
  query.bind(1, static_cast<std::int64_t>(first));
  std::vector<std::string> leaves;
  std::size_t bytes = 0;
  while (bytes < max_bytes) {
    FP_ASSIGN(const bool row, query.step());
    if (!row) break;
    const auto begin = static_cast<std::uint64_t>(query.integer(0));
    const auto count = static_cast<std::uint64_t>(query.integer(1));
    const std::uint64_t wanted = first + leaves.size();
    if (begin > wanted)
      return corrupt("pending leaves from " + std::to_string(wanted) + " are missing");
    if (begin + count <= wanted) continue;
    FP_ASSIGN(std::vector<std::string> part,
              split_row(as_text(query.blob(2)), count, wanted - begin));
    bytes += query.blob(2).size();
    std::move(part.begin(), part.end(), std::back_inserter(leaves));
  }
  return leaves;
}

Result<std::optional<std::string>> LedgerDb::pending_leaf(std::uint64_t index) {
  FP_ASSIGN(SqlStatement query,
            database_.prepare("SELECT first, count, leaves FROM pending WHERE first <= ? "
                              "ORDER BY first DESC LIMIT 1"));
  FP_ASSIGN(const bool row, query.bind(1, static_cast<std::int64_t>(index)).step());
  if (!row) return std::nullopt;
  const auto begin = static_cast<std::uint64_t>(query.integer(0));
  const auto count = static_cast<std::uint64_t>(query.integer(1));
  if (index - begin >= count) return std::nullopt;
  std::string_view rest = as_text(query.blob(2));
  std::string_view leaf;
  for (std::uint64_t i = begin; i <= index; ++i) {
    FP_ASSIGN(leaf, take_leaf(rest));
  }
  return std::string(leaf);
}

Result<std::uint64_t> LedgerDb::tree_size() { return one_integer("SELECT size FROM tree"); }

Result<TreeEdge> LedgerDb::tree() {
  FP_ASSIGN(SqlStatement query, database_.prepare("SELECT size, edge FROM tree"));
  FP_ASSIGN(const bool row, query.step());
  if (!row || query.integer(0) < 0) return corrupt("the tree's state is missing");
  return TreeEdge::parse(static_cast<std::uint64_t>(query.integer(0)), query.blob(1));
}

Result<bool> LedgerDb::advance_tree(std::uint64_t old_size, const TreeEdge& edge) {
  FP_CHECK(edge.size() > old_size);
  FP_ASSIGN(Transaction transaction, Transaction::begin(database_));
  FP_ASSIGN(SqlStatement swap,
            database_.prepare("UPDATE tree SET size = ?1, edge = ?2 WHERE size = ?3"));
  FP_TRY(swap.bind(1, static_cast<std::int64_t>(edge.size()))
             .bind(2, edge.serialize())
             .bind(3, static_cast<std::int64_t>(old_size))
             .run());
  if (database_.changes() != 1) return false;
  FP_ASSIGN(SqlStatement drop, database_.prepare("DELETE FROM pending WHERE first + count <= ?"));
  const std::uint64_t in_full_bundles = edge.size() / kTileWidth * kTileWidth;
  FP_TRY(drop.bind(1, static_cast<std::int64_t>(in_full_bundles)).run());
  FP_TRY(transaction.commit());
  return true;
}

Result<PublishedState> LedgerDb::published() {
  FP_ASSIGN(SqlStatement query,
            database_.prepare("SELECT size, time_s, checkpoint, witnessed_size, "
                              "witnessed FROM published"));
  FP_ASSIGN(const bool row, query.step());
  if (!row) return corrupt("the published state is missing");
  return PublishedState{static_cast<std::uint64_t>(query.integer(0)), query.integer(1),
                        std::string(query.text(2)), static_cast<std::uint64_t>(query.integer(3)),
                        std::string(query.text(4))};
}

Status LedgerDb::set_published(const PublishedState& state) {
  FP_ASSIGN(SqlStatement update,
            database_.prepare("UPDATE published SET size = ?, time_s = ?, checkpoint = ?, "
                              "witnessed_size = ?, witnessed = ?"));
  return update.bind(1, static_cast<std::int64_t>(state.size))
      .bind(2, state.time_s)
      .bind(3, state.checkpoint)
      .bind(4, static_cast<std::int64_t>(state.witnessed_size))
      .bind(5, state.witnessed)
      .run();
}

Result<std::vector<std::uint64_t>> LedgerDb::find(EntryKind kind, std::string_view subject,
                                                  std::uint64_t before, std::size_t limit) {
  const bool any = subject.empty();
  FP_ASSIGN(SqlStatement query,
            database_.prepare(any ? "SELECT leaf FROM entry_index WHERE kind = ?1 AND leaf < ?2 "
                                    "ORDER BY leaf DESC LIMIT ?3"
                                  : "SELECT leaf FROM entry_index WHERE kind = ?1 AND leaf < ?2 "
                                    "AND subject = ?4 ORDER BY leaf DESC LIMIT ?3"));
  const auto cap = [](std::uint64_t value) {
    constexpr auto kMax = std::uint64_t{std::numeric_limits<std::int64_t>::max()};
    return static_cast<std::int64_t>(std::min(value, kMax));
  };
  query.bind(1, static_cast<std::int64_t>(kind)).bind(2, cap(before)).bind(3, cap(limit));
  if (!any) query.bind(4, subject);
  std::vector<std::uint64_t> found;
  for (;;) {
    FP_ASSIGN(const bool row, query.step());
    if (!row) return found;
    found.push_back(static_cast<std::uint64_t>(query.integer(0)));
  }
}

Result<std::uint64_t> LedgerDb::witness_size(std::string_view key) {
  FP_ASSIGN(SqlStatement query, database_.prepare("SELECT size FROM witness WHERE key = ?"));
  FP_ASSIGN(const bool row, query.bind(1, key).step());
  return row ? static_cast<std::uint64_t>(query.integer(0)) : std::uint64_t{0};
}

Status LedgerDb::set_witness_size(std::string_view key, std::uint64_t size) {
  FP_ASSIGN(SqlStatement update, database_.prepare("INSERT INTO witness(key, size) VALUES(?1, ?2) "
                                                   "ON CONFLICT(key) DO UPDATE SET size = ?2"));
  return update.bind(1, key).bind(2, static_cast<std::int64_t>(size)).run();
}

Result<std::vector<LedgerDb::PendingRange>> LedgerDb::pending_ranges() {
  FP_ASSIGN(SqlStatement query,
            database_.prepare("SELECT first, count FROM pending ORDER BY first"));
  std::vector<PendingRange> ranges;
  for (;;) {
    FP_ASSIGN(const bool row, query.step());
    if (!row) return ranges;
    ranges.push_back({static_cast<std::uint64_t>(query.integer(0)),
                      static_cast<std::uint64_t>(query.integer(1))});
  }
}

Result<bool> LedgerDb::indexed(EntryKind kind, std::string_view subject, std::uint64_t index) {
  FP_ASSIGN(SqlStatement query, database_.prepare("SELECT 1 FROM entry_index WHERE kind = ? AND "
                                                  "subject = ? AND leaf = ?"));
  return query.bind(1, static_cast<std::int64_t>(kind))
      .bind(2, subject)
      .bind(3, static_cast<std::int64_t>(index))
      .step();
}

Result<std::uint64_t> LedgerDb::index_rows(std::uint64_t end) {
  FP_ASSIGN(SqlStatement query,
            database_.prepare("SELECT count(*) FROM entry_index WHERE leaf < ?"));
  FP_ASSIGN(const bool row, query.bind(1, static_cast<std::int64_t>(end)).step());
  return row ? static_cast<std::uint64_t>(query.integer(0)) : std::uint64_t{0};
}

}  // namespace fieldprint
