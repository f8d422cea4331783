// A thin layer over SQLite: connections, statements, transactions, errors as values. The only
// header that stands for SQLite; <sqlite3.h> is not seen outside src/store.
//
// Every connection uses WAL with synchronous=FULL: a transaction that committed survives a
// power cut. Several processes may open one file; writers take turns and wait for each other
// up to busy_timeout.
//
// Errors of every call: disk_full, disk_read_only, database_busy, database_corrupt,
// database_io, database_error (a bug or an unknown schema).
//
// Thread rule: a Database with its statements belongs to one thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

struct sqlite3;
struct sqlite3_stmt;

namespace fieldprint {

enum class DatabaseMode : std::uint8_t {
  kReadOnly,  // the file must exist; nothing is written, not even a WAL index where avoidable
  kExisting,  // the file must exist
  kCreate,    // made if missing
};

struct DatabaseOptions {
  DatabaseMode mode = DatabaseMode::kExisting;
  std::string vfs;  // Env::sqlite_vfs()
  std::chrono::milliseconds busy_timeout{10'000};
};

class SqlStatement {
 public:
  SqlStatement() = default;

  // Parameters count from 1. Bound text and blobs are copied.
  SqlStatement& bind(int parameter, std::int64_t value);
  SqlStatement& bind(int parameter, std::string_view text);
  SqlStatement& bind(int parameter, std::span<const std::uint8_t> blob);

  // True: a row is there. False: done; the statement may be bound and run again.
  Result<bool> step();
  // For statements without rows: runs to the end and rewinds.
  Status run();
  // Ends a read early, so that it holds no lock.
  void reset();

  // Columns of the current row count from 0. Views live until the next step().
  std::int64_t integer(int column) const;
  std::string_view text(int column) const;
  std::span<const std::uint8_t> blob(int column) const;

 private:
  friend class Database;
  struct Finalizer {
    void operator()(sqlite3_stmt* statement) const;
  };
  std::unique_ptr<sqlite3_stmt, Finalizer> statement_;
  int bind_error_ = 0;  // the first failed bind; reported by step()
};

class Database {
 public:
  // Errors: as above, database_missing.
  static Result<Database> open(const std::string& path, const DatabaseOptions& options);

  // One or more statements without parameters or rows.
  Status execute(const char* sql);
  Result<SqlStatement> prepare(std::string_view sql);
  // Rows changed by the last INSERT, UPDATE or DELETE.
  std::int64_t changes() const;
  // Reads every page and checks the file's structure; one line for each fault.
  Result<std::vector<std::string>> integrity_faults();

 private:
  struct Closer {
    void operator()(sqlite3* database) const;
  };
  explicit Database(sqlite3* database) : database_(database) {}
  std::unique_ptr<sqlite3, Closer> database_;
};

// A write transaction: takes the write lock at once, rolls back unless committed.
class Transaction {
 public:
  static Result<Transaction> begin(Database& database);
  ~Transaction();
  Transaction(Transaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;

  // After an error the transaction is rolled back. Its outcome is then unknown only if the
  // machine fails before the next commit: the log may keep what was reported as failed.
  Status commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;
};

}  // namespace fieldprint
