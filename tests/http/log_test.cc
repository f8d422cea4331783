// The ledger's files over HTTP, and a witness at the other end of a connection.
#include <filesystem>

#include "http/fixture.h"
#include "http/witness_server.h"
#include "http/witness_transport.h"
#include "ledger/ledger_fixture.h"
#include "merkle/tile.h"

namespace fieldprint::testing_http {
namespace {

using fieldprint::testing::kPatience;
using fieldprint::testing::receipt_entry;
using fieldprint::testing::ScratchFolder;
using fieldprint::testing::test_keys;
using fieldprint::testing::test_signer;
using fieldprint::testing::why;

class LogRouteTest : public ServerTest {
 protected:
  void SetUp() override {
    const LedgerOptions options = fieldprint::testing::test_options();
    ASSERT_TRUE(Ledger::create(dir_, test_keys(), options));
    ledger_ = *Ledger::open(dir_, test_keys(), options);
    std::vector<Entry> entries;
    for (std::uint64_t i = 0; i < 299; ++i) entries.push_back(receipt_entry(i));
    const auto ticket = ledger_->append(entries);
    ASSERT_TRUE(ledger_->wait(*ticket, Durability::kIntegrated, kPatience));
    start();
    ServiceContext service = test_service(engine_);
    service.log = &ledger_->reader();
    server_->set_ready(std::move(service));
  }
  Reply log(const std::string& path) { return get(port_, "/v1/fieldprint/log/" + path); }

  ScratchFolder scratch_;
  const std::string dir_ = scratch_ / "log";
  std::unique_ptr<Ledger> ledger_;
};

TEST_F(LogRouteTest, ServesCheckpointAndTilesAsTheSpecificationSays) {
  const Reply head = log("checkpoint");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-type"), "text/plain; charset=utf-8");
  EXPECT_EQ(head.headers.at("cache-control"), "max-age=2, must-revalidate");
  EXPECT_EQ(head.body, ledger_->checkpoint()->text);

  const Reply full = log("tile/0/000");
  EXPECT_EQ(full.status, 200);
  EXPECT_EQ(full.headers.at("content-type"), "application/octet-stream");
  EXPECT_EQ(full.headers.at("cache-control"), "max-age=31536000, immutable");
  EXPECT_EQ(full.body.size(), kFullTileBytes);
  EXPECT_EQ(log("tile/0/001.p/44").body.size(), 44U * kHashBytes);
  EXPECT_EQ(log("tile/1/000.p/1").body.size(), kHashBytes);
  EXPECT_EQ(log("tile/entries/001.p/44").status, 200);
  // A partial tile of an earlier checkpoint, cut from the full one.
  EXPECT_EQ(log("tile/0/000.p/7").body, full.body.substr(0, 7 * kHashBytes));
}

TEST_F(LogRouteTest, RefusesWhatIsNotPublished) {
  for (const char* path : {"tile/0/001", "tile/0/001.p/45", "tile/0/002.p/1", "tile/2/000.p/1"}) {
    const Reply reply = log(path);
    EXPECT_EQ(reply.status, 404) << path;
    EXPECT_EQ(code_of(reply), "ledger_tile_missing") << path;
  }
  for (const char* path :
       {"tile/00/000", "tile/0/0", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/../checkpoint",
        "tile/0/x000/000", "tile/64/000", "tile/0/%2e%2e/ledger.db", "tile/entries/000.p/"}) {
    const Reply reply = log(path);
    EXPECT_EQ(reply.status, 404) << path;
    EXPECT_EQ(code_of(reply), "tile_path_invalid") << path;
  }
}

TEST_F(ServerTest, WithoutALedgerTheRoutesSaySo) {
  start_ready();
  const Reply reply = get(port_, "/v1/fieldprint/log/checkpoint");
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(code_of(reply), "ledger_off");
}

class WitnessServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto logs =
        Policy::parse("log " + test_keys().log.verifier().print() + "\nquorum none\n");
    witness_ = *Witness::open(Env::real(), scratch_ / "witness",
                              test_signer("w.test", NoteKeyType::kCosignature, 7), *logs);
    WitnessServerOptions options;
    options.port = 0;
    auto started = WitnessServer::start(options, *witness_);
    ASSERT_TRUE(started) << why(started);
    server_ = std::move(*started);
    url_ = "http://127.0.0.1:" + std::to_string(server_->port());
  }
  ScratchFolder scratch_;
  std::unique_ptr<Witness> witness_;
  std::unique_ptr<WitnessServer> server_;
  std::string url_;
};

TEST_F(WitnessServerTest, ALedgerIsWitnessedOverHttp) {
  const auto policy = Policy::parse("log " + test_keys().log.verifier().print() + "\nwitness w " +
                                    witness_->key().print() + " " + url_ + "\nquorum w\n");
  ASSERT_TRUE(policy) << why(policy);
  LedgerOptions options = fieldprint::testing::test_options();
  options.witnesses = *WitnessClient::make(*policy, make_witness_transport());
  ASSERT_TRUE(Ledger::create(scratch_ / "log", test_keys(), options));
  const auto ledger = *Ledger::open(scratch_ / "log", test_keys(), options);
  for (std::uint64_t i = 0; i < 5; ++i) {
    const auto done = ledger->commit(receipt_entry(i), Durability::kWitnessed, kPatience);
    ASSERT_TRUE(done) << why(done);
  }
  EXPECT_TRUE(policy->open(ledger->witnessed_checkpoint()->text));
}

TEST_F(WitnessServerTest, AnswersWithTheStatusesOfTheSpecification) {
  const Reply bad = post(server_->port(), "/add-checkpoint", "nonsense");
  EXPECT_EQ(bad.status, 400);
  EXPECT_EQ(post(server_->port(), "/else", "x").status, 404);
  EXPECT_EQ(get(server_->port(), "/add-checkpoint").status, 404);
  EXPECT_EQ(post(server_->port(), "/add-checkpoint", "x", {{"Content-Encoding", "gzip"}}).status,
            415);
  EXPECT_EQ(
      post(server_->port(), "/add-checkpoint", std::string(kMaxWitnessRequest + 1, 'x')).status,
      413);
}

TEST_F(WitnessServerTest, TheTransportNamesWhatFails) {
  const auto transport = make_witness_transport();
  for (const char* url : {"ftp://x/", "http://", "nothing", "http://a b/", "http:///x"})
    EXPECT_EQ(transport->post(url, "").error().code, "witness_url") << url;
  const int port = server_->port();
  server_.reset();
  EXPECT_EQ(transport->post("http://127.0.0.1:" + std::to_string(port) + "/x", "").error().code,
            "witness_unreachable");
}

}  // namespace
}  // namespace fieldprint::testing_http
