// The keygen command, called as main() calls it.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "app/commands/commands.h"
#include "crypto/key_file.h"
#include "crypto/note_key.h"
#include "crypto/p256.h"

namespace fieldprint::app {
namespace {

namespace fs = std::filesystem;

class Keygen : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) /
              ("keygen_" + std::to_string(::getpid()) + "_" +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const char* name) const { return (folder_ / name).string(); }

  // Standard output, or the error's code.
  static std::string keygen(const std::vector<std::string>& kind,
                            const std::map<std::string, std::string>& flags) {
    Layer layer;
    for (const auto& [name, value] : flags) layer[name] = {{value}, Origin::kFlag, "--" + name};
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    const Result<int> code =
        cmd_keygen({Command::kKeygen, *merge_settings(Command::kKeygen, {layer}), kind});
    std::fflush(stdout);
    const std::string out = ::testing::internal::GetCapturedStdout();
    errors_ = ::testing::internal::GetCapturedStderr();
    return code ? out : code.error().code;
  }

  fs::path folder_;
  static std::string errors_;
};
std::string Keygen::errors_;

TEST_F(Keygen, NoteKeysOfEveryKind) {
  const std::pair<const char*, NoteKeyType> kinds[] = {{"log", NoteKeyType::kEd25519},
                                                       {"authority", NoteKeyType::kEd25519},
                                                       {"witness", NoteKeyType::kCosignature},
                                                       {"cosigner", NoteKeyType::kCosignature}};
  for (const auto& [kind, type] : kinds) {
    const std::string file = path(kind) + ".key";
    const std::string out = keygen({kind}, {{"out", file}, {"name", "example.com/k"}});
    const auto secret = SignerKey::load(file);
    const auto open = load_verifier_key(path(kind) + ".pub");
    ASSERT_TRUE(secret) << secret.error().message;
    ASSERT_TRUE(open) << open.error().message;
    EXPECT_EQ(secret->verifier(), *open);
    EXPECT_EQ(open->type(), type);
    EXPECT_EQ(out, open->print() + "\n");
    EXPECT_NE(errors_.find(file), std::string::npos);
    // The seed appears in its file only. It is the fifth part, and base64 may hold a '+' itself.
    const std::string text(secret->print().view());
    std::size_t seed = 0;
    for (int part = 0; part < 4; ++part) seed = text.find('+', seed) + 1;
    EXPECT_EQ((out + errors_).find(text.substr(seed)), std::string::npos);
    struct stat info {};
    ASSERT_EQ(::stat(file.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0600U);
  }
}

TEST_F(Keygen, AnchorKeyIsPem) {
  const std::string out = keygen({"anchor"}, {{"out", path("anchor.pem")}});
  const auto secret = P256SecretKey::from_pem(read_secret_key_file(path("anchor.pem"))->view());
  const auto open = P256PublicKey::from_pem(out);
  ASSERT_TRUE(secret && open);
  EXPECT_TRUE(open->verify("message", secret->sign("message")));
  EXPECT_EQ(*read_public_key_file(path("anchor.pub")), out);
}

TEST_F(Keygen, JsonNamesTheFiles) {
  const auto json = nlohmann::json::parse(
      keygen({"log"}, {{"out", path("l.key")}, {"name", "example.com/l"}, {"json", "true"}}));
  EXPECT_EQ(json["kind"], "log");
  EXPECT_EQ(json["name"], "example.com/l");
  EXPECT_EQ(json["secret_file"], path("l.key"));
  EXPECT_EQ(json["public_file"], path("l.pub"));
  EXPECT_EQ(json["public_key"], *read_public_key_file(path("l.pub")));
}

TEST_F(Keygen, NeverOverwritesAndLeavesBothFilesOrNone) {
  const std::map<std::string, std::string> flags = {{"out", path("k.key")},
                                                    {"name", "example.com/k"}};
  ASSERT_NE(keygen({"log"}, flags), "key_file_exists");
  const std::string before(read_secret_key_file(path("k.key"))->view());
  EXPECT_EQ(keygen({"log"}, flags), "key_file_exists");
  EXPECT_EQ(read_secret_key_file(path("k.key"))->view(), before);
  fs::remove(path("k.key"));
  EXPECT_EQ(keygen({"log"}, flags), "key_file_exists");  // the public half is still there
  EXPECT_FALSE(fs::exists(path("k.key")));
}

TEST_F(Keygen, SaysWhatIsMissing) {
  const std::string out = path("x.key");
  EXPECT_EQ(keygen({}, {{"out", out}, {"name", "n"}}), "missing_argument");
  EXPECT_EQ(keygen({"logs"}, {{"out", out}, {"name", "n"}}), "key_kind");
  EXPECT_EQ(keygen({"log"}, {{"name", "n"}}), "missing_argument");
  EXPECT_EQ(keygen({"log"}, {{"out", out}}), "missing_argument");
  EXPECT_EQ(keygen({"log"}, {{"out", out}, {"name", "a b"}}), "key_name_invalid");
  EXPECT_EQ(keygen({"log"}, {{"out", path("x.pub")}, {"name", "n"}}), "option_value");
  EXPECT_EQ(keygen({"anchor"}, {{"out", out}, {"name", "n"}}), "option_conflict");
  EXPECT_EQ(keygen({"log"}, {{"out", path("no/such/x.key")}, {"name", "n"}}), "key_file_io");
  EXPECT_TRUE(fs::is_empty(folder_));
}

}  // namespace
}  // namespace fieldprint::app
