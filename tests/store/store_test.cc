#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "store/env.h"
#include "store/fault_env.h"
#include "store/sqlite.h"

namespace fieldprint {
namespace {

namespace fs = std::filesystem;

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/fieldprint-store-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    root_ = name;
  }
  void TearDown() override {
    std::error_code ignored;
    fs::remove_all(root_, ignored);
  }
  std::string at(const std::string& name) const { return root_ + "/" + name; }
  static std::string text(const Result<std::vector<std::uint8_t>>& bytes) {
    return bytes ? std::string(bytes->begin(), bytes->end()) : bytes.error().code;
  }
  std::string root_;
};

TEST_F(StoreTest, WritesAndReadsWholeFiles) {
  Env& env = Env::real();
  ASSERT_TRUE(write_file_durably(env, at("a/b/c"), "first"));
  ASSERT_TRUE(write_file_durably(env, at("a/b/c"), "second"));
  EXPECT_EQ(text(env.read_file(at("a/b/c"), 100)), "second");
  EXPECT_EQ(env.list_dir(at("a/b"), 10).value(), std::vector<std::string>{"c"});  // no leftovers
  EXPECT_EQ(text(env.read_file(at("a/b/c"), 5)), "file_too_large");
  EXPECT_EQ(text(env.read_file(at("a/b"), 5)), "not_a_file");
  EXPECT_EQ(text(env.read_file(at("none"), 5)), "file_missing");
  EXPECT_EQ(env.list_dir(at("a"), 0).error().code, "file_too_large");
}

TEST_F(StoreTest, APipeIsRefusedAtOnce) {
  ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
  EXPECT_EQ(text(Env::real().read_file(at("pipe"), 5)), "not_a_file");
}

TEST_F(StoreTest, AFileInTheWayOfAFolderIsNamed) {
  ASSERT_TRUE(write_file_durably(Env::real(), at("x"), ""));
  EXPECT_EQ(Env::real().make_dir(at("x")).error().code, "io_error");
  EXPECT_FALSE(write_file_durably(Env::real(), at("x/y"), ""));
}

TEST(StoreErrors, TheDisksStateHasItsOwnCodes) {
  EXPECT_EQ(system_error(ENOSPC, "write", "f").code, "disk_full");
  EXPECT_EQ(system_error(EDQUOT, "write", "f").code, "disk_full");
  EXPECT_EQ(system_error(EROFS, "write", "f").code, "disk_read_only");
  EXPECT_EQ(system_error(EIO, "write", "f").code, "io_error");
  EXPECT_EQ(parent_dir("a/b"), "a");
  EXPECT_EQ(parent_dir("/a"), "/");
  EXPECT_EQ(parent_dir("a"), ".");
}

TEST_F(StoreTest, SqliteKeepsWhatWasCommitted) {
  DatabaseOptions options;
  EXPECT_EQ(Database::open(at("db"), options).error().code, "database_missing");
  options.mode = DatabaseMode::kCreate;
  {
    auto db = Database::open(at("db"), options);
    ASSERT_TRUE(db) << db.error().message;
    ASSERT_TRUE(db->execute("CREATE TABLE t(a INTEGER, b TEXT, c BLOB)"));
    auto insert = db->prepare("INSERT INTO t VALUES(?, ?, ?)");
    const std::vector<std::uint8_t> blob = {0, 1, 2};
    const std::vector<std::uint8_t> none;
    ASSERT_TRUE(insert->bind(1, std::int64_t{-5}).bind(2, "text").bind(3, blob).run());
    ASSERT_TRUE(insert->bind(1, std::int64_t{6}).bind(2, "").bind(3, none).run());
    {
      auto dropped = Transaction::begin(*db);
      ASSERT_TRUE(dropped);
      ASSERT_TRUE(db->execute("DELETE FROM t"));
    }  // rolled back
    auto kept = Transaction::begin(*db);
    ASSERT_TRUE(db->execute("UPDATE t SET a = 7 WHERE a = 6"));
    EXPECT_EQ(db->changes(), 1);
    ASSERT_TRUE(kept->commit());
  }
  auto db = Database::open(at("db"), {});
  auto query = db->prepare("SELECT a, b, c FROM t ORDER BY a");
  ASSERT_TRUE(query->step().value());
  EXPECT_EQ(query->integer(0), -5);
  EXPECT_EQ(query->text(1), "text");
  EXPECT_EQ(query->blob(2).size(), 3U);
  ASSERT_TRUE(query->step().value());
  EXPECT_EQ(query->integer(0), 7);
  EXPECT_EQ(query->blob(2).size(), 0U);
  EXPECT_FALSE(query->step().value());
  EXPECT_TRUE(db->integrity_faults()->empty());
}

TEST_F(StoreTest, SqliteErrorsAreNamed) {
  DatabaseOptions options;
  options.mode = DatabaseMode::kCreate;
  options.busy_timeout = std::chrono::milliseconds(20);
  auto db = Database::open(at("db"), options);
  ASSERT_TRUE(db->execute("CREATE TABLE t(a INTEGER)"));
  EXPECT_EQ(db->execute("SELECT nothing").error().code, "database_error");
  EXPECT_EQ(db->prepare("SELEC 1").error().code, "database_error");
  auto unbound = db->prepare("INSERT INTO t VALUES(1)");
  EXPECT_EQ(unbound->bind(2, std::int64_t{1}).run().error().code, "database_error");

  auto other = Database::open(at("db"), options);
  auto writer = Transaction::begin(*db);
  EXPECT_EQ(Transaction::begin(*other).error().code, "database_busy");
  ASSERT_TRUE(writer->commit());

  options.mode = DatabaseMode::kReadOnly;
  auto reader = Database::open(at("db"), options);
  EXPECT_EQ(reader->execute("INSERT INTO t VALUES(1)").error().code, "disk_read_only");
  ASSERT_TRUE(write_file_durably(Env::real(), at("no-db"), std::string(5000, 'x')));
  EXPECT_EQ(Database::open(at("no-db"), {}).error().code, "database_corrupt");
}

TEST_F(StoreTest, WritersWaitForEachOther) {
  DatabaseOptions options;
  options.mode = DatabaseMode::kCreate;
  ASSERT_TRUE(Database::open(at("db"), options)->execute("CREATE TABLE t(a INTEGER)"));
  const auto work = [&] {
    auto db = Database::open(at("db"), {});
    for (int i = 0; i < 100; ++i) {
      auto transaction = Transaction::begin(*db);
      ASSERT_TRUE(transaction) << transaction.error().message;
      ASSERT_TRUE(db->execute("INSERT INTO t VALUES(1)"));
      ASSERT_TRUE(transaction->commit());
    }
  };
  std::thread first(work);
  std::thread second(work);
  first.join();
  second.join();
  auto db = Database::open(at("db"), {});
  auto count = db->prepare("SELECT count(*) FROM t");
  ASSERT_TRUE(count->step().value());
  EXPECT_EQ(count->integer(0), 200);
}

// The simulated disk itself: what was promised stays, what was not may go.
TEST_F(StoreTest, APowerCutTakesWhatWasNotSynced) {
  FaultEnv env(root_);
  ASSERT_TRUE(write_file_durably(env, at("kept"), "kept"));
  {
    const auto file = *env.create_file(at("unsynced"));
    ASSERT_TRUE(file->append(std::vector<std::uint8_t>{1, 2, 3}));
    const auto nameless = *env.create_file(at("synced-without-a-name"));
    ASSERT_TRUE(nameless->sync());
    ASSERT_TRUE(env.remove_file(at("kept")));  // not durable either
  }
  env.disk().lose_power(Survival::kSyncedOnly, 1);
  EXPECT_EQ(text(env.read_file(at("kept"), 10)), "kept");
  EXPECT_FALSE(env.exists(at("unsynced")).value());
  EXPECT_FALSE(env.exists(at("synced-without-a-name")).value());
}

TEST_F(StoreTest, TheNthCallFails) {
  FaultEnv env(root_);
  for (const auto& [fault, code] :
       {std::pair(Fault::kIoError, "io_error"), std::pair(Fault::kDiskFull, "disk_full"),
        std::pair(Fault::kReadOnly, "disk_read_only")}) {
    std::uint64_t n = 1;
    for (;; ++n) {
      env.disk().fail_at(n, fault, FaultSpan::kOnce);
      const Status done = write_file_durably(env, at("file"), "x");
      if (env.disk().faults() == 0) break;
      EXPECT_EQ(done ? code : done.error().code, code);
    }
    env.disk().heal();
    EXPECT_EQ(n - 1, 7U);  // parent, create, write, sync, rename, two folders
  }
}

TEST_F(StoreTest, SqliteGoesThroughTheSimulatedDisk) {
  FaultEnv env(root_);
  DatabaseOptions options;
  options.mode = DatabaseMode::kCreate;
  options.vfs = env.sqlite_vfs();
  {
    auto db = Database::open(at("db"), options);
    ASSERT_TRUE(db) << db.error().message;
    ASSERT_TRUE(db->execute("CREATE TABLE t(a INTEGER)"));
    ASSERT_TRUE(env.sync_dir(root_));
    ASSERT_TRUE(db->execute("INSERT INTO t VALUES(1)"));
    env.disk().fail_at(1, Fault::kDiskFull, FaultSpan::kFromThenOn);
    EXPECT_EQ(db->execute("INSERT INTO t VALUES(2)").error().code, "disk_full");
  }
  env.disk().heal();
  env.disk().lose_power(Survival::kSyncedOnly, 1);
  auto db = Database::open(at("db"), options);
  ASSERT_TRUE(db) << db.error().message;
  auto query = db->prepare("SELECT a FROM t");
  ASSERT_TRUE(query->step().value());
  EXPECT_EQ(query->integer(0), 1);
  EXPECT_FALSE(query->step().value());
}

}  // namespace
}  // namespace fieldprint
