#include "crypto/key_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace fieldprint {
namespace {

namespace fs = std::filesystem;

class KeyFile : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) /
              ("key_file_" + std::to_string(::getpid()) + "_" +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const char* name = "key") const { return (folder_ / name).string(); }
  unsigned mode() const {
    struct stat info {};
    EXPECT_EQ(::stat(path().c_str(), &info), 0);
    return info.st_mode & 07777;
  }
  std::string read_code() const {
    const auto bytes = read_secret_key_file(path());
    return bytes ? std::string(bytes->view()) : bytes.error().code;
  }

  fs::path folder_;
};

TEST_F(KeyFile, SecretIs0600WhateverTheUmask) {
  const mode_t before = ::umask(0);
  EXPECT_TRUE(write_secret_key_file(path(), "secret"));
  ::umask(before);
  EXPECT_EQ(mode(), 0600U);
  EXPECT_EQ(read_code(), "secret");
}

TEST_F(KeyFile, PublicIs0644WhateverTheUmask) {
  const mode_t before = ::umask(0077);
  EXPECT_TRUE(write_public_key_file(path(), "public"));
  ::umask(before);
  EXPECT_EQ(mode(), 0644U);
  EXPECT_EQ(*read_public_key_file(path()), "public");
}

TEST_F(KeyFile, NeverOverwrites) {
  ASSERT_TRUE(write_secret_key_file(path(), "first"));
  EXPECT_EQ(write_secret_key_file(path(), "second").error().code, "key_file_exists");
  EXPECT_EQ(write_public_key_file(path(), "second").error().code, "key_file_exists");
  EXPECT_EQ(read_code(), "first");
  fs::create_symlink("nowhere", path("dangling"));
  EXPECT_FALSE(write_secret_key_file(path("dangling"), "through a link"));
  EXPECT_FALSE(fs::exists(folder_ / "nowhere"));
}

TEST_F(KeyFile, RefusesEveryWiderModeAndSaysWhatHelps) {
  ASSERT_TRUE(write_secret_key_file(path(), "secret"));
  for (const mode_t extra : {0040, 0020, 0010, 0004, 0002, 0001}) {
    ASSERT_EQ(::chmod(path().c_str(), 0600 | extra), 0);
    const auto bytes = read_secret_key_file(path());
    ASSERT_FALSE(bytes) << extra;
    EXPECT_EQ(bytes.error().code, "key_file_permissions");
    EXPECT_NE(bytes.error().message.find("chmod 600 '" + path() + "'"), std::string::npos);
    EXPECT_EQ(bytes.error().message.find("secret"), std::string::npos);
  }
  ASSERT_EQ(::chmod(path().c_str(), 0400), 0);
  EXPECT_EQ(read_code(), "secret");
}

TEST_F(KeyFile, NamesWhatIsWrong) {
  EXPECT_EQ(read_code(), "key_file_missing");
  EXPECT_EQ(read_public_key_file(path()).error().code, "key_file_missing");
  EXPECT_EQ(read_secret_key_file(folder_.string()).error().code, "key_file_not_regular");
  EXPECT_EQ(write_secret_key_file(path("no/such/folder"), "x").error().code, "key_file_io");
  ASSERT_TRUE(write_secret_key_file(path(), ""));
  EXPECT_EQ(read_code(), "key_file_empty");
  std::ofstream(path(), std::ios::trunc) << std::string(kMaxKeyFileBytes + 1, 'x');
  EXPECT_EQ(read_code(), "key_file_too_large");
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(read_secret_key_file(path("pipe")).error().code, "key_file_not_regular");
}

TEST_F(KeyFile, RefusesTheFileOfAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  ASSERT_TRUE(write_secret_key_file(path(), "secret"));
  ASSERT_EQ(::chown(path().c_str(), 12345, 12345), 0);
  EXPECT_EQ(read_code(), "key_file_owner");
}

}  // namespace
}  // namespace fieldprint
