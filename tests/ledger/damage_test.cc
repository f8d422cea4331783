// Verify, fsck and export: a whole log is found whole, and each damage is found and named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include "ledger/ledger.h"
#include "ledger/ledger_export.h"
#include "ledger/ledger_fixture.h"
#include "ledger/ledger_verify.h"
#include "store/sqlite.h"

namespace fieldprint {
namespace {

using testing::kPatience;
using testing::test_keys;
using testing::test_options;
using testing::test_trust;
using testing::why;
namespace fs = std::filesystem;

constexpr std::uint64_t kEntries = 600;  // with the genesis; two full bundles and a part

void fill(const std::string& dir) {
  ASSERT_TRUE(Ledger::create(dir, test_keys(), test_options()));
  const auto ledger = Ledger::open(dir, test_keys(), test_options());
  ASSERT_TRUE(ledger) << why(ledger);
  std::vector<Entry> entries;
  for (std::uint64_t i = 1; i < kEntries; ++i)
    entries.push_back(i % 4 == 0 ? testing::receipt_entry(i) : testing::segment_entry(i));
  const auto ticket = (*ledger)->append(entries);
  ASSERT_TRUE((*ledger)->wait(*ticket, Durability::kIntegrated, kPatience));
}

void flip(const std::string& path, std::uintmax_t at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  ASSERT_TRUE(file.good()) << path;
  file.seekg(static_cast<std::streamoff>(at));
  const int byte = file.get();
  file.seekp(static_cast<std::streamoff>(at));
  file.put(static_cast<char>(byte ^ 1));
}

void sql(const std::string& dir, const char* statement) {
  auto db = Database::open(dir + "/ledger.db", {});
  ASSERT_TRUE(db) << why(db);
  const Status done = db->execute(statement);
  ASSERT_TRUE(done) << why(done);
}

std::vector<std::string> codes(const LedgerReport& report) {
  std::vector<std::string> all;
  for (const LedgerFinding& finding : report.findings) all.push_back(finding.code);
  return all;
}

class DamageTest : public ::testing::Test {
 protected:
  void SetUp() override { fill(dir()); }
  std::string dir() const { return scratch_ / "log"; }
  LedgerReport verify() {
    const auto report = verify_ledger(Env::real(), dir(), test_trust(test_keys()));
    EXPECT_TRUE(report) << why(report);
    return report ? *report : LedgerReport{};
  }
  LedgerReport fsck() {
    const auto report = fsck_ledger(Env::real(), dir(), test_trust(test_keys()));
    EXPECT_TRUE(report) << why(report);
    return report ? *report : LedgerReport{};
  }
  testing::ScratchFolder scratch_;
};

TEST_F(DamageTest, AWholeLogIsWhole) {
  for (const LedgerReport& report : {verify(), fsck()}) {
    EXPECT_TRUE(report.good()) << ::testing::PrintToString(codes(report));
    EXPECT_EQ(report.entries, kEntries);
    EXPECT_EQ(report.kinds.at(EntryKind::kGenesis), 1U);
    EXPECT_EQ(report.kinds.at(EntryKind::kReceipt), 149U);
  }
}

struct Damage {
  const char* name;
  std::function<void(const std::string& dir)> harm;
  std::string verify;  // the code that each must name; empty: this tool need not see it
  std::string fsck;
};

TEST_F(DamageTest, EachDamageIsFoundAndNamed) {
  const std::vector<Damage> damages = {
      {"a bit in an entry", [](auto& d) { flip(d + "/tile/entries/000", 700); }, "leaf_mismatch",
       "leaf_mismatch"},
      {"a length in a bundle", [](auto& d) { flip(d + "/tile/entries/001", 0); }, "bundle_invalid",
       "bundle_invalid"},
      {"a bundle lost", [](auto& d) { fs::remove(d + "/tile/entries/001"); }, "bundle_missing",
       "bundle_missing"},
      {"a bit in a leaf hash", [](auto& d) { flip(d + "/tile/0/001", 33); }, "tile_mismatch",
       "tile_mismatch"},
      {"a level-0 tile lost", [](auto& d) { fs::remove(d + "/tile/0/000"); }, "tile_missing",
       "tile_missing"},
      {"a bit in level 1", [](auto& d) { flip(d + "/tile/1/000.p/2", 5); }, "tile_mismatch",
       "tile_mismatch"},
      {"level 1 lost", [](auto& d) { fs::remove_all(d + "/tile/1"); }, "tile_missing",
       "tile_missing"},
      {"a tile cut short", [](auto& d) { fs::resize_file(d + "/tile/0/001", 100); },
       "tile_mismatch", "tile_mismatch"},
      {"an index row lost", [](auto& d) { sql(d, "DELETE FROM entry_index WHERE leaf = 8"); }, "",
       "index_missing"},
      {"an index row too many",
       [](auto& d) { sql(d, "INSERT INTO entry_index VALUES(10, 'x', 7)"); }, "", "index_extra"},
      {"indices given out without leaves",
       [](auto& d) { sql(d, "UPDATE sequencer SET next_index = 700"); }, "", "pending_gap"},
      {"waiting leaves lost", [](auto& d) { sql(d, "DELETE FROM pending"); }, "", "pending_gap"},
      {"an old tree head", [](auto& d) { sql(d, "UPDATE tree SET size = 1, edge = x'0100'"); }, "",
       "database_tree"},
      {"another log's identity", [](auto& d) { sql(d, "UPDATE identity SET log_key = 'other'"); },
       "", "database_keys"},
      {"a published text that nobody signed",
       [](auto& d) { sql(d, "UPDATE published SET checkpoint = 'x'"); }, "", "published_invalid"},
  };
  const std::string whole = scratch_ / "whole";
  fs::copy(dir(), whole, fs::copy_options::recursive);
  for (const Damage& damage : damages) {
    SCOPED_TRACE(damage.name);
    fs::remove_all(dir());
    fs::copy(whole, dir(), fs::copy_options::recursive);
    damage.harm(dir());
    const LedgerReport verified = verify();
    const LedgerReport checked = fsck();
    EXPECT_EQ(verified.good(), damage.verify.empty());
    std::vector<std::string> named = codes(verified);
    if (damage.verify.empty()) named.emplace_back();  // nothing to see from outside
    EXPECT_THAT(named, ::testing::Contains(damage.verify));
    EXPECT_FALSE(checked.good());
    EXPECT_THAT(codes(checked), ::testing::Contains(damage.fsck));
  }
}

TEST_F(DamageTest, StrayFilesAreNamedButHarmless) {
  std::ofstream(dir() + "/tile/0/000.tmp1-1") << "x";
  const LedgerReport report = fsck();
  EXPECT_TRUE(report.good());
  EXPECT_THAT(codes(report), ::testing::ElementsAre("stray_file"));
}

TEST_F(DamageTest, AKeptCheckpointMustBeAPrefix) {
  const LedgerTrust trust = test_trust(test_keys());
  const auto old =
      sign_checkpoint(trust.origin, 5, Digest256{7}, test_keys().log, test_keys().cosigner, 1, {});
  const auto forked = verify_ledger(Env::real(), dir(), trust, {old.text});
  ASSERT_TRUE(forked) << why(forked);
  EXPECT_THAT(codes(*forked), ::testing::ElementsAre("root_mismatch"));
  LedgerReader reader(Env::real(), dir(), trust);
  const auto honest = sign_checkpoint(trust.origin, 5, *reader.root(5), test_keys().log,
                                      test_keys().cosigner, 1, {});
  EXPECT_TRUE(verify_ledger(Env::real(), dir(), trust, {honest.text})->good());
  const auto ahead = sign_checkpoint(trust.origin, 9999, Digest256{7}, test_keys().log,
                                     test_keys().cosigner, 1, {});
  EXPECT_FALSE(verify_ledger(Env::real(), dir(), trust, {ahead.text})->good());
}

TEST_F(DamageTest, AnExportStandsForItself) {
  LedgerReader reader(Env::real(), dir(), test_trust(test_keys()));
  const std::string out = scratch_ / "export";
  const auto summary = export_ledger(Env::real(), reader, out);
  ASSERT_TRUE(summary) << why(summary);
  EXPECT_EQ(summary->checkpoint.size, kEntries);
  EXPECT_FALSE(fs::exists(out + "/ledger.db"));
  const auto policy = load_policy(Env::real(), out + "/" + kPolicyFileName);
  ASSERT_TRUE(policy) << why(policy);
  const auto report = verify_ledger(Env::real(), out, *trust_of(*policy));
  ASSERT_TRUE(report) << why(report);
  EXPECT_TRUE(report->good());
  EXPECT_EQ(report->entries, kEntries);
  EXPECT_EQ(export_ledger(Env::real(), reader, out).error().code, "export_exists");
  EXPECT_EQ(fsck_ledger(Env::real(), out, test_trust(test_keys())).error().code, "ledger_missing");
}

// An export of a grown log may hold full tiles only; those of a partial width are cut from them.
TEST_F(DamageTest, ServedPartialTilesAreCutFromFullOnes) {
  LedgerReader reader(Env::real(), dir(), test_trust(test_keys()));
  const auto full = reader.tile_bytes({TileKind::kHashes, 0, 0, 256});
  const auto part = reader.tile_bytes({TileKind::kHashes, 0, 0, 10});
  ASSERT_TRUE(part) << why(part);
  EXPECT_EQ(*part, full->substr(0, 320));
  const auto entries = reader.tile_bytes({TileKind::kEntries, 0, 0, 10});
  ASSERT_TRUE(entries) << why(entries);
  EXPECT_TRUE(reader.tile_bytes({TileKind::kEntries, 0, 0, 256})->starts_with(*entries));
  EXPECT_EQ(reader.tile_bytes({TileKind::kHashes, 0, 3, 256}).error().code, "ledger_tile_missing");
}

}  // namespace
}  // namespace fieldprint
