// The supervision recipe as a part of the anchor. Its contents are not this module's business.
#include "anchor/document.h"
#include "anchor/signed.h"
#include "crypto/sha256.h"
#include "support.h"

namespace fieldprint {
namespace {

namespace fs = std::filesystem;
using test::code_of;
using test::must;
using test::read_file;
using test::tiny_anchor;
using test::write_file;

// Stated in docs/formats/anchor.md.
constexpr const char* kPlainDigest =
    "sha256:a8a901aae948faf8ea9a2b4830c4159dbc0be3d8b1e70ce7861c93297788faa0";
constexpr const char* kSupervisedDigest =
    "sha256:7f868794772e9746fc796b1da2399528d1e440e814e2a40545b82ffb1b586456";

class Supervised : public test::FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    folder_ = root_ / "tiny";
    anchor_.supervision = "{}";
    ASSERT_TRUE(save_anchor(anchor_, folder_.string()));
  }
  std::string load_code() const { return code_of(load_anchor(folder_.string())); }
  fs::path recipe_file() const { return folder_ / "supervision.json"; }
  std::size_t folders() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(root_), fs::directory_iterator()));
  }

  AnchorArtifact anchor_ = tiny_anchor();
  fs::path folder_;
};

TEST_F(Supervised, DigestCommitsToTheRecipe) {
  EXPECT_EQ(anchor_.digest, kSupervisedDigest);
  const LoadedAnchor loaded = must(load_anchor_files(folder_.string()));
  EXPECT_EQ(loaded.artifact.supervision, "{}");
  EXPECT_EQ(loaded.artifact.digest, kSupervisedDigest);
  EXPECT_EQ(loaded.supervision.size, 2U);
  EXPECT_EQ(loaded.supervision.digest, digest_string(sha256("{}")));
  AnchorArtifact other = tiny_anchor();
  other.supervision = "[]";
  ASSERT_TRUE(seal_anchor(other));
  EXPECT_NE(other.digest, kSupervisedDigest);
  other.supervision.clear();
  ASSERT_TRUE(seal_anchor(other));
  EXPECT_EQ(other.digest, kPlainDigest) << "an anchor without one is what it always was";
}

TEST_F(Supervised, AnotherRecipeIsRefused) {
  write_file(recipe_file(), "[]");
  EXPECT_EQ(load_code(), "anchor_digest_mismatch");
  write_file(recipe_file(), "{} ");
  EXPECT_EQ(load_code(), "anchor_digest_mismatch");
  fs::remove(recipe_file());
  EXPECT_EQ(load_code(), "anchor_missing");
  fs::create_symlink(folder_ / "text", recipe_file());
  EXPECT_EQ(load_code(), "anchor_symlink");
}

TEST_F(Supervised, UnnamedRecipeIsRefused) {
  AnchorArtifact plain = tiny_anchor();
  const std::string folder = (root_ / "plain").string();
  ASSERT_TRUE(save_anchor(plain, folder));
  EXPECT_FALSE(fs::exists(root_ / "plain/supervision.json"));
  write_file(root_ / "plain/supervision.json", "{}");
  EXPECT_EQ(code_of(load_anchor(folder)), "anchor_unexpected_file");
  EXPECT_EQ(code_of(sign_anchor_folder(folder, P256SecretKey::generate())),
            "anchor_unexpected_file");
  fs::remove(root_ / "plain/supervision.json");
  fs::create_symlink("nowhere", root_ / "plain/supervision.json");
  EXPECT_EQ(code_of(load_anchor(folder)), "anchor_unexpected_file");
}

TEST_F(Supervised, DocumentRefusesANamelessOrEmptyRecipe) {
  const std::string json = read_file(folder_ / "anchor.json");
  const auto parsed = [&](const std::string& from, const std::string& to) {
    std::string text = json;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos);
    text.replace(at, from.size(), to);
    return code_of(
        parse_anchor_json({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}));
  };
  const std::string digest = digest_string(sha256("{}"));
  EXPECT_EQ(parsed(digest, ""), "anchor_corrupt");
  EXPECT_EQ(parsed(digest, "sha256:x"), "anchor_corrupt");
  EXPECT_EQ(parsed(R"("supervision":{"digest":")" + digest + R"(","size":2})",
                   R"("supervision":{"digest":")" + digest + R"(","size":0})"),
            "anchor_corrupt");
  EXPECT_EQ(
      parsed(R"("supervision":{"digest":")" + digest + R"(","size":2})", R"("supervision":"{}")"),
      "anchor_corrupt");
}

TEST_F(Supervised, SignatureCoversTheRecipe) {
  const P256SecretKey key = P256SecretKey::generate();
  const std::vector<AnchorKey> keys = {{"anchor", key.public_key().pem()}};
  ASSERT_TRUE(sign_anchor_folder(folder_.string(), key));
  EXPECT_EQ(must(load_signed_anchor(folder_.string(), keys)).artifact.supervision, "{}");
  // A signature of the same anchor without the recipe's file in its list.
  const LoadedAnchor loaded = must(load_anchor_files(folder_.string()));
  const Manifest manifest{"tiny",
                          {{kAnchorJsonName, loaded.artifact.digest},
                           {kAnchorRowsName, loaded.rows.digest},
                           {kAnchorTextName, loaded.text.digest}}};
  write_file(folder_ / kBundleName, must(sign_bundle(manifest, key)));
  EXPECT_EQ(code_of(load_signed_anchor(folder_.string(), keys)), "anchor_manifest_mismatch");
}

TEST_F(Supervised, ReplacingExchangesTheFolderAndDropsItsSignature) {
  ASSERT_TRUE(sign_anchor_folder(folder_.string(), P256SecretKey::generate()));
  anchor_.supervision = "[1]";
  ASSERT_TRUE(replace_anchor(anchor_, folder_.string() + "/"));
  const AnchorArtifact loaded = must(load_anchor(folder_.string()));
  EXPECT_EQ(loaded.supervision, "[1]");
  EXPECT_EQ(loaded.digest, anchor_.digest);
  EXPECT_NE(loaded.digest, kSupervisedDigest);
  EXPECT_FALSE(fs::exists(folder_ / kBundleName));
  EXPECT_EQ(folders(), 1U) << "nothing is left behind";
  EXPECT_EQ(code_of(replace_anchor(anchor_, (root_ / "none").string())), "anchor_missing");
  EXPECT_EQ(folders(), 1U);
}

}  // namespace
}  // namespace fieldprint
