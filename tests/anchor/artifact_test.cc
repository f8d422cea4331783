#include "anchor/artifact.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <set>

#include "anchor/document.h"
#include "anchor/safetensors.h"
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
constexpr const char* kTinyDigest =
    "sha256:a8a901aae948faf8ea9a2b4830c4159dbc0be3d8b1e70ce7861c93297788faa0";

const std::set<std::string> kNamed = {"anchor_corrupt",      "anchor_too_large",
                                      "anchor_version",      "anchor_unknown_field",
                                      "anchor_name_invalid", "anchor_digest_mismatch"};
const char* const kFiles[] = {"anchor.json", "text", "rows.safetensors"};

class Artifact : public test::FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    folder_ = root_ / "tiny";
    ASSERT_TRUE(save_anchor(anchor_, folder_.string()));
  }
  std::string load_code() const { return code_of(load_anchor(folder_.string())); }

  AnchorArtifact anchor_ = tiny_anchor();
  fs::path folder_;
};

TEST_F(Artifact, RoundTrips) {
  const AnchorArtifact loaded = must(load_anchor(folder_.string() + "/"));
  EXPECT_EQ(loaded.name, anchor_.name);
  EXPECT_EQ(loaded.text, anchor_.text);
  EXPECT_EQ(loaded.tokens, anchor_.tokens);
  EXPECT_EQ(loaded.model_digest, anchor_.model_digest);
  EXPECT_EQ(loaded.recipe.method, "exact");
  EXPECT_EQ(loaded.recipe.wrap, "system");
  EXPECT_EQ(loaded.recipe.chat_template, "chatml");
  EXPECT_EQ(loaded.recipe.numeric_profile, "test/none");
  EXPECT_EQ(loaded.layers, 2);
  EXPECT_EQ(loaded.kv_heads, 1);
  EXPECT_EQ(loaded.head_dim, 2);
  EXPECT_EQ(loaded.k, anchor_.k);
  EXPECT_EQ(loaded.v, anchor_.v);
  EXPECT_EQ(loaded.beta_fit, anchor_.beta_fit);
  EXPECT_EQ(loaded.digest, anchor_.digest);
  EXPECT_EQ(loaded.digest, digest_string(sha256(read_file(folder_ / "anchor.json"))));
}

TEST_F(Artifact, CommittedVectorIsReproducedByteForByte) {
  const fs::path committed = fs::path(FP_TEST_DATA) / "tiny";
  for (const char* file : kFiles) {
    EXPECT_EQ(read_file(folder_ / file), read_file(committed / file)) << file;
  }
  EXPECT_EQ(must(load_anchor(committed.string())).digest, kTinyDigest);
  EXPECT_EQ(anchor_.digest, kTinyDigest);
  AnchorArtifact sealed = tiny_anchor();
  ASSERT_TRUE(seal_anchor(sealed));
  EXPECT_EQ(sealed.digest, kTinyDigest) << "sealing and saving agree";
}

// A changed byte is refused by name, or, where anchor.json alone states the fact (name,
// tokens, model), gives another digest: the digest is what the anchor is known by.
TEST_F(Artifact, EveryFlippedByteIsNoticed) {
  for (const char* file : kFiles) {
    const std::string good = read_file(folder_ / file);
    const bool self_describing = std::string(file) == "anchor.json";
    // In place: writing the whole file again each time would wait for the disk.
    std::fstream bytes(folder_ / file, std::ios::in | std::ios::out | std::ios::binary);
    const auto put = [&](std::size_t at, int byte) {
      bytes.seekp(static_cast<std::streamoff>(at));
      bytes.put(static_cast<char>(byte)).flush();
      ASSERT_TRUE(bytes);
    };
    for (std::size_t i = 0; i < good.size(); ++i) {
      for (const int flip : {0x01, 0x10, 0x80, 0xFF}) {
        put(i, good[i] ^ flip);
        const auto loaded = load_anchor(folder_.string());
        if (loaded) {
          EXPECT_TRUE(self_describing) << file << " byte " << i;
          EXPECT_NE(loaded->digest, anchor_.digest) << file << " byte " << i;
        } else {
          EXPECT_TRUE(kNamed.contains(loaded.error().code)) << loaded.error().code;
        }
      }
      put(i, good[i]);
    }
  }
  EXPECT_EQ(load_code(), "ok");
}

TEST_F(Artifact, EveryTruncationAndAnyAppendedByteIsRefused) {
  for (const char* file : kFiles) {
    const std::string good = read_file(folder_ / file);
    const bool self_describing = std::string(file) == "anchor.json";
    const char* const code = self_describing ? "anchor_corrupt" : "anchor_digest_mismatch";
    write_file(folder_ / file, good + "\n");
    EXPECT_EQ(load_code(), code) << file;
    for (std::size_t length = good.size(); length-- > 0;) {
      fs::resize_file(folder_ / file, length);
      EXPECT_EQ(load_code(), code) << file << " cut to " << length;
    }
    write_file(folder_ / file, good);
  }
}

TEST_F(Artifact, MissingFilesFoldersAndPipes) {
  EXPECT_EQ(code_of(load_anchor((root_ / "none").string())), "anchor_missing");
  for (const char* file : kFiles) {
    const std::string good = read_file(folder_ / file);
    fs::remove(folder_ / file);
    EXPECT_EQ(load_code(), "anchor_missing") << file;
    fs::create_directory(folder_ / file);
    EXPECT_EQ(load_code(), "anchor_corrupt") << file;
    fs::remove(folder_ / file);
    ASSERT_EQ(::mkfifo((folder_ / file).c_str(), 0600), 0);
    EXPECT_EQ(load_code(), "anchor_corrupt") << file << " must not hang";
    fs::remove(folder_ / file);
    write_file(folder_ / file, good);
  }
}

TEST_F(Artifact, OversizedFilesAreRefusedUnread) {
  fs::resize_file(folder_ / "text", kAnchorMaxText + 1);
  EXPECT_EQ(load_code(), "anchor_too_large");
  write_file(folder_ / "text", anchor_.text);
  fs::resize_file(folder_ / "anchor.json", kAnchorMaxJson + 1);
  EXPECT_EQ(load_code(), "anchor_too_large");
}

TEST_F(Artifact, SavingNeverReplacesAndLeavesNothingBehind) {
  AnchorArtifact other = tiny_anchor();
  other.name = "other";
  EXPECT_EQ(code_of(save_anchor(other, folder_.string())), "anchor_exists");
  EXPECT_EQ(code_of(save_anchor(other, folder_.string() + "//")), "anchor_exists");
  fs::create_directory(root_ / "empty");
  EXPECT_EQ(code_of(save_anchor(other, (root_ / "empty").string())), "anchor_exists");
  EXPECT_EQ(code_of(save_anchor(other, (root_ / "no" / "parent").string())), "io_write");
  other.k[3] = 0x7F80;  // infinity
  EXPECT_EQ(code_of(save_anchor(other, (root_ / "bad").string())), "anchor_corrupt");
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(root_)) names.insert(entry.path().filename());
  EXPECT_EQ(names, (std::set<std::string>{"empty", "tiny"}));
  EXPECT_EQ(must(load_anchor(folder_.string())).name, "tiny");
}

TEST_F(Artifact, OtherWritersOfTheContainerAreRead) {
  // The same tensors in another order, with metadata: a valid file, so a valid anchor.
  const auto bytes = [](const auto& values) {
    return std::string(reinterpret_cast<const char*>(values.data()),
                       values.size() * sizeof(values[0]));
  };
  const std::string json =
      R"({"__metadata__":{"by":"hand"}, "beta_fit":{"dtype":"F32","shape":[2,1,3],)"
      R"("data_offsets":[0,24]},"v":{"dtype":"BF16","shape":[2,1,3,2],"data_offsets":[24,48]},)"
      R"("k":{"dtype":"BF16","shape":[2,1,3,2],"data_offsets":[48,72]}})";
  std::string rows(8, '\0');
  rows[0] = static_cast<char>(json.size() & 0xFF);
  rows[1] = static_cast<char>(json.size() >> 8);
  rows += json + bytes(anchor_.beta_fit) + bytes(anchor_.v) + bytes(anchor_.k);
  AnchorDocument document = must(describe_anchor(anchor_));
  document.rows = {digest_string(sha256(rows)), rows.size()};
  write_file(folder_ / "rows.safetensors", rows);
  write_file(folder_ / "anchor.json", must(print_anchor_json(document)));
  const AnchorArtifact loaded = must(load_anchor(folder_.string()));
  EXPECT_EQ(loaded.k, anchor_.k);
  EXPECT_EQ(loaded.v, anchor_.v);
  EXPECT_NE(loaded.digest, anchor_.digest);
}

// Folders whose digests all agree, but whose rows break a rule.
TEST_F(Artifact, ConsistentlyWrongRowsAreRefused) {
  const std::string good = read_file(folder_ / "rows.safetensors");
  const auto load_with = [&](std::size_t offset_from_end, const std::string& bytes) {
    std::string rows = good;
    rows.replace(rows.size() - offset_from_end, bytes.size(), bytes);
    AnchorDocument document = must(describe_anchor(anchor_));
    document.rows.digest = digest_string(sha256(rows));
    write_file(folder_ / "rows.safetensors", rows);
    write_file(folder_ / "anchor.json", must(print_anchor_json(document)));
    return load_code();
  };
  // k and v take 24 bytes each, beta_fit 24 behind them.
  EXPECT_EQ(load_with(72, std::string("\x80\x7f", 2)), "anchor_corrupt") << "infinite k";
  EXPECT_EQ(load_with(48, std::string("\xc0\xff", 2)), "anchor_corrupt") << "NaN v";
  EXPECT_EQ(load_with(24, std::string("\0\0\x80\x3f", 4)), "anchor_corrupt") << "beta of 1";
  EXPECT_EQ(load_with(24, std::string("\0\0\xc0\x7f", 4)), "anchor_corrupt") << "NaN beta";
  EXPECT_EQ(load_with(24, std::string("\0\0\0\0", 4)), "ok");
}

}  // namespace
}  // namespace fieldprint
