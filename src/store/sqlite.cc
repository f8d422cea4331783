#include "store/sqlite.h"

#include <sqlite3.h>
#include <time.h>

#include <algorithm>

#include "core/check.h"

namespace fieldprint {
namespace {

Error database_error(int code, sqlite3* database, std::string_view action) {
  const char* file = database != nullptr ? sqlite3_db_filename(database, "main") : nullptr;
  const std::string detail = database != nullptr ? sqlite3_errmsg(database) : sqlite3_errstr(code);
  const std::string what = std::string(file != nullptr && *file != 0 ? file : "database") +
                           ": cannot " + std::string(action) + ": " + detail;
  switch (code & 0xff) {
    case SQLITE_FULL:
      return {ErrorKind::kExhausted, "disk_full", what + "; free some space and try again", ""};
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return {ErrorKind::kIo, "disk_read_only", what + "; the folder must be writable", ""};
    case SQLITE_CANTOPEN:
      return {ErrorKind::kIo, "database_io", what + "; check the folder and its rights", ""};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {ErrorKind::kUnavailable, "database_busy",
              what + "; another process holds it, try again", ""};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return {ErrorKind::kCorrupt, "database_corrupt", what + "; restore it from a copy", ""};
    case SQLITE_IOERR:
      return {ErrorKind::kIo, "database_io",
              what + " (code " + std::to_string(code) + "); check the disk", ""};
    case SQLITE_NOMEM:
      return {ErrorKind::kExhausted, "memory_exhausted", what, ""};
    default:  // NOLINT: SQLite's codes are an open set of integers
      return {ErrorKind::kInternal, "database_error", what, ""};
  }
}

// SQLite's own handler sleeps up to 100 ms; commits here take a millisecond.
int wait_for_lock(void* timeout_us, int attempt) {
  constexpr std::int64_t kFirstUs = 100;
  constexpr std::int64_t kLongestUs = 2000;
  const std::int64_t pause_us = std::min(kFirstUs * (attempt + 1), kLongestUs);
  const std::int64_t ramp = kLongestUs / kFirstUs;
  const std::int64_t waited_us =
      attempt <= ramp ? kFirstUs * attempt * (attempt + 1) / 2
                      : kFirstUs * ramp * (ramp + 1) / 2 + (attempt - ramp) * kLongestUs;
  if (waited_us > static_cast<std::int64_t>(reinterpret_cast<std::intptr_t>(timeout_us))) return 0;
  const timespec pause{.tv_sec = 0, .tv_nsec = pause_us * 1000};
  ::nanosleep(&pause, nullptr);
  return 1;
}

int open_flags(DatabaseMode mode) {
  const int common = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  switch (mode) {
    case DatabaseMode::kReadOnly:
      return common | SQLITE_OPEN_READONLY;
    case DatabaseMode::kExisting:
      return common | SQLITE_OPEN_READWRITE;
    case DatabaseMode::kCreate:
      return common | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  }
  FP_UNREACHABLE();
}

}  // namespace

void SqlStatement::Finalizer::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

SqlStatement& SqlStatement::bind(int parameter, std::int64_t value) {
  const int code = sqlite3_bind_int64(statement_.get(), parameter, value);
  if (bind_error_ == SQLITE_OK) bind_error_ = code;
  return *this;
}

SqlStatement& SqlStatement::bind(int parameter, std::string_view text) {
  const int code = sqlite3_bind_text64(statement_.get(), parameter, text.data(), text.size(),
                                       SQLITE_TRANSIENT, SQLITE_UTF8);
  if (bind_error_ == SQLITE_OK) bind_error_ = code;
  return *this;
}

SqlStatement& SqlStatement::bind(int parameter, std::span<const std::uint8_t> blob) {
  // A null pointer would bind NULL instead of an empty blob.
  const int code = blob.empty() ? sqlite3_bind_zeroblob(statement_.get(), parameter, 0)
                                : sqlite3_bind_blob64(statement_.get(), parameter, blob.data(),
                                                      blob.size(), SQLITE_TRANSIENT);
  if (bind_error_ == SQLITE_OK) bind_error_ = code;
  return *this;
}

Result<bool> SqlStatement::step() {
  const int bound = std::exchange(bind_error_, SQLITE_OK);
  const int code = bound != SQLITE_OK ? bound : sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) {
    reset();
    return false;
  }
  Error error =
      database_error(code, sqlite3_db_handle(statement_.get()), "read or write its tables");
  reset();
  return tl::unexpected(std::move(error));
}

Status SqlStatement::run() {
  FP_ASSIGN(const bool row, step());
  FP_CHECK(!row);
  return {};
}

void SqlStatement::reset() { sqlite3_reset(statement_.get()); }

std::int64_t SqlStatement::integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

std::string_view SqlStatement::text(int column) const {
  const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return bytes == nullptr ? std::string_view() : std::string_view(bytes, size);
}

std::span<const std::uint8_t> SqlStatement::blob(int column) const {
  const auto* bytes =
      static_cast<const std::uint8_t*>(sqlite3_column_blob(statement_.get(), column));
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column));
  if (bytes == nullptr) return {};
  return {bytes, size};
}

void Database::Closer::operator()(sqlite3* database) const { sqlite3_close_v2(database); }

Result<Database> Database::open(const std::string& path, const DatabaseOptions& options) {
  sqlite3* raw = nullptr;
  const char* vfs = options.vfs.empty() ? nullptr : options.vfs.c_str();
  const int code = sqlite3_open_v2(path.c_str(), &raw, open_flags(options.mode), vfs);
  Database database(raw);
  if (code != SQLITE_OK) {
    Error error = database_error(code, nullptr, "open " + path);
    if ((code & 0xff) == SQLITE_CANTOPEN && options.mode != DatabaseMode::kCreate)
      error = {ErrorKind::kNotFound, "database_missing", path + ": no such database", ""};
    return tl::unexpected(std::move(error));
  }
  const auto timeout_us =
      std::chrono::duration_cast<std::chrono::microseconds>(options.busy_timeout).count();
  sqlite3_busy_handler(raw, wait_for_lock, reinterpret_cast<void*>(std::intptr_t{timeout_us}));
  if (options.mode != DatabaseMode::kReadOnly) {
    // The limit keeps a WAL that once grew large from staying so.
    FP_TRY(
        database.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                         "PRAGMA journal_size_limit=67108864; PRAGMA foreign_keys=ON;"));
  }
  return database;
}

Status Database::execute(const char* sql) {
  const int code = sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK)
    return tl::unexpected(database_error(code, database_.get(), "read or write its tables"));
  return {};
}

Result<SqlStatement> Database::prepare(std::string_view sql) {
  sqlite3_stmt* raw = nullptr;
  const int code = sqlite3_prepare_v3(database_.get(), sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
  if (code != SQLITE_OK)
    return tl::unexpected(database_error(code, database_.get(), "prepare a statement"));
  SqlStatement statement;
  statement.statement_.reset(raw);
  return statement;
}

std::int64_t Database::changes() const { return sqlite3_changes64(database_.get()); }

Result<std::vector<std::string>> Database::integrity_faults() {
  FP_ASSIGN(SqlStatement check, prepare("PRAGMA integrity_check(100)"));
  std::vector<std::string> faults;
  for (;;) {
    FP_ASSIGN(const bool row, check.step());
    if (!row) break;
    if (check.text(0) != "ok") faults.emplace_back(check.text(0));
  }
  return faults;
}

Result<Transaction> Transaction::begin(Database& database) {
  FP_TRY(database.execute("BEGIN IMMEDIATE"));
  return Transaction(database);
}

Transaction::~Transaction() {
  if (database_ != nullptr) (void)database_->execute("ROLLBACK");  // nothing left to report to
}

Status Transaction::commit() {
  Database* database = std::exchange(database_, nullptr);
  FP_CHECK(database != nullptr);
  Status done = database->execute("COMMIT");
  if (!done) (void)database->execute("ROLLBACK");  // fails where SQLite already did it
  return done;
}

}  // namespace fieldprint
