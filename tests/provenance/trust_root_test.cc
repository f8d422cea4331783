#include "provenance/trust_root.h"

#include <filesystem>

#include "provenance/trust_folder.h"
#include "support.h"

// After gtest, which it needs.
#include <rapidcheck/gtest.h>

namespace fieldprint {
namespace {

namespace fs = std::filesystem;
using test::code;
using test::fixed_key;
using test::need;
using test::World;

TrustRoot successor(const SignedRoot& of) {
  TrustRoot next = of.root;
  next.version += 1;
  next.previous = of.digest;
  return next;
}

TEST(TrustRoot, ReadsBackToItself) {
  const World world;
  const std::string text = need(print_root(world.root()));
  EXPECT_EQ(need(print_root(need(parse_root(text)))), text);
  EXPECT_EQ(world.signed_root().root.role(AuthorityRole::kOverride).threshold, 3);
}

TEST(TrustRoot, ARoleThatNobodyOrOneTwiceCanFillIsRefused) {
  const World world;
  TrustRoot root = world.root();
  root.role(AuthorityRole::kPromotion).threshold = 4;
  EXPECT_EQ(code(check_root(root)), "root_role_invalid");
  root = world.root();
  root.role(AuthorityRole::kPromotion).threshold = 0;
  EXPECT_EQ(code(check_root(root)), "root_role_invalid");
  root = world.root();
  root.role(AuthorityRole::kPromotion).keys = {"ada", "ada"};
  EXPECT_EQ(code(check_root(root)), "root_role_invalid");
  root = world.root();
  root.role(AuthorityRole::kPromotion).keys = {"ada", "mallory"};
  EXPECT_EQ(code(check_root(root)), "root_role_invalid");
  // One key under two names would count twice.
  root = world.root();
  root.authorities.push_back(
      need(VerifierKey::make("ada2", NoteKeyType::kEd25519, world.ada.verifier().key())));
  EXPECT_EQ(code(check_root(root)), "root_key_duplicate");
  root = world.root();
  root.authorities.push_back(fixed_key("w", NoteKeyType::kCosignature).verifier());
  EXPECT_EQ(code(check_root(root)), "root_field_invalid") << "a witness is no authority";
}

TEST(TrustRoot, DocumentIsReadStrictly) {
  const World world;
  const std::string good = need(print_root(world.root()));
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return code(parse_root(text.replace(at, from.size(), to)));
  };
  EXPECT_EQ(with(R"("spec":1)", R"("spec":2)"), "root_format");
  EXPECT_EQ(with("fieldprint-trust-root", "fieldprint-trust-tree"), "root_format");
  EXPECT_EQ(with(R"("version":1)", R"("version":1,"x":1)"), "root_unknown_field");
  EXPECT_EQ(with(R"("version":1)", R"("version":2)"), "root_field_invalid") << "no predecessor";
  EXPECT_EQ(with("BEGIN PUBLIC", "BEGIN SECRET"), "root_field_invalid");
  EXPECT_EQ(code(parse_root(std::string(kRootMaxBytes + 1, ' '))), "root_too_large");
  EXPECT_EQ(code(parse_root(std::string(1000, '['))), "root_too_large");
}

TEST(TrustRoot, IsSignedByItsOwnThreshold) {
  const World world;
  const TrustRoot root = world.root();
  const auto opened = [&](const std::vector<const SignerKey*>& keys) {
    return code(open_root(need(sign_root(root, keys))));
  };
  EXPECT_EQ(opened({&world.ada, &world.bob}), "ok");
  EXPECT_EQ(opened({&world.ada}), "root_threshold");
  EXPECT_EQ(opened({&world.ada, &world.stranger}), "root_threshold");
  EXPECT_EQ(opened({&world.ada, &world.ada}), "signature_duplicate");
  EXPECT_EQ(opened({}), "dsse_invalid") << "no signature at all";
}

TEST(TrustRoot, SuccessorNeedsOldAndNewThresholds) {
  const World world;
  const SignedRoot first = world.signed_root();
  const SignerKey fay = fixed_key("fay");
  const SignerKey gus = fixed_key("gus");
  TrustRoot next = successor(first);
  next.authorities = {fay.verifier(), gus.verifier(), world.eve.verifier()};
  for (const AuthorityRole role : kAuthorityRoles) next.role(role) = {{"fay", "gus"}, 2};
  const auto opened = [&](const TrustRoot& root, const std::vector<const SignerKey*>& keys) {
    return code(open_successor(first, need(sign_root(root, keys))));
  };
  EXPECT_EQ(opened(next, {&world.ada, &world.bob, &fay, &gus}), "ok");
  EXPECT_EQ(opened(next, {&fay, &gus}), "root_threshold") << "the old keys must agree";
  EXPECT_EQ(opened(next, {&world.ada, &fay, &gus}), "root_threshold");
  EXPECT_EQ(opened(next, {&world.ada, &world.bob}), "root_threshold") << "and the new ones";
  EXPECT_EQ(opened(next, {&world.ada, &world.bob, &fay}), "root_threshold");

  TrustRoot skipped = next;
  skipped.version = 3;
  EXPECT_EQ(opened(skipped, {&world.ada, &world.bob, &fay, &gus}), "root_version");
  TrustRoot other = next;
  other.previous = test::fake_digest("another root");
  EXPECT_EQ(opened(other, {&world.ada, &world.bob, &fay, &gus}), "root_previous");
  // The first version again: a roll back.
  EXPECT_EQ(code(open_successor(first, first.envelope)), "root_version");
}

class TrustFolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "trust_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    dir_ = (root_ / "trust").string();
  }
  void TearDown() override { fs::remove_all(root_); }

  World world_;
  Env& env_ = Env::real();
  fs::path root_;
  std::string dir_;
};

TEST_F(TrustFolderTest, RemembersTheWayFromTheFirstRootToTheLast) {
  EXPECT_EQ(code(open_trust_folder(env_, dir_)), "trust_missing");
  const SignedRoot first = world_.signed_root();
  TrustFolder folder = need(create_trust_folder(env_, dir_, first.envelope));
  EXPECT_EQ(code(create_trust_folder(env_, dir_, first.envelope)), "trust_exists");
  SignedRoot last = first;
  for (int version = 2; version <= 4; ++version) {
    const std::string next =
        need(sign_root(successor(last), std::vector{&world_.ada, &world_.eve}));
    ASSERT_TRUE(save_successor(env_, folder, next));
    last = folder.newest;
  }
  const TrustFolder again = need(open_trust_folder(env_, dir_));
  EXPECT_EQ(again.genesis.digest, first.digest);
  EXPECT_EQ(again.newest.digest, last.digest);
  EXPECT_EQ(again.newest.root.version, 4);
  EXPECT_EQ(code(save_successor(env_, folder, first.envelope)), "root_version");
  fs::remove(dir_ + "/roots/2.json");
  EXPECT_EQ(code(open_trust_folder(env_, dir_)), "trust_incomplete");
}

TEST_F(TrustFolderTest, SeenHeadOnlyGrowsAndIsNotGuessed) {
  const TrustFolder folder = need(create_trust_folder(env_, dir_, world_.signed_root().envelope));
  EXPECT_FALSE(need(load_seen_head(env_, folder)).has_value());
  SeenHead head{70, sha256("head")};
  ASSERT_TRUE(save_seen_head(env_, folder, head));
  ASSERT_TRUE(save_seen_head(env_, folder, {12, sha256("older")}));
  const std::optional<SeenHead> seen = need(load_seen_head(env_, folder));
  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(seen->size, 70U);
  EXPECT_EQ(seen->root, head.root);
  for (const char* broken : {"", "70", "70\n", "x\nAA==\n", "70\nAA==\n", "\n\n", "-1\n=\n"}) {
    ASSERT_TRUE(write_file_durably(env_, dir_ + "/seen", broken));
    EXPECT_EQ(code(load_seen_head(env_, folder)), "trust_seen_invalid") << broken;
    EXPECT_EQ(code(save_seen_head(env_, folder, head)), "trust_seen_invalid") << broken;
  }
}

RC_GTEST_PROP(TrustRoot, EveryChangedByteOfTheEnvelopeIsRefusedOrChangesNothing, ()) {
  static const World world;
  static const SignedRoot good = world.signed_root();
  std::string text = good.envelope;
  const std::size_t at = *rc::gen::inRange(std::size_t{0}, text.size());
  text[at] = static_cast<char>(*rc::gen::inRange(0, 256));
  const auto opened = open_root(text);
  if (opened) RC_ASSERT(opened->digest == good.digest);  // a changed keyid or field name
}

}  // namespace
}  // namespace fieldprint
