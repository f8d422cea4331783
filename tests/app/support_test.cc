// The helpers of the commands that need no model.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "app/support/bench.h"
#include "app/support/build_info.h"
#include "app/support/format.h"
#include "app/support/line_reader.h"
#include "app/support/mass.h"
#include "app/support/model_file.h"
#include "app/support/paths.h"
#include "app/support/status_line.h"

namespace fieldprint::app {
namespace {

namespace fs = std::filesystem;

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (fs::temp_directory_path() / "fieldprint-app-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { fs::remove_all(path_); }
  const std::string& path() const { return path_; }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ + "/" + name) << text;
    return path_ + "/" + name;
  }

 private:
  std::string path_;
};

std::string read_file(const std::string& path) {
  return read_text_file(path, std::size_t{1} << 20).value_or("");
}

TEST(ModelDigest, IsTheHashOfTheFile) {
  const TemporaryFolder folder;
  const std::string file = folder.write("m.gguf", "abc");
  EXPECT_EQ(model_digest(file, folder.path() + "/cache", DigestTrust::kCached).value_or(""),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(ModelDigest, CacheIsTrustedUntilTheFileChanges) {
  const TemporaryFolder folder;
  const std::string file = folder.write("m.gguf", "abc");
  const std::string cache = folder.path() + "/cache";
  const std::string honest = *model_digest(file, cache, DigestTrust::kCached);
  // A false entry is believed, which shows that the second call did not hash.
  std::string text = read_file(cache + "/digests.json");
  const std::string planted = "sha256:" + std::string(64, '0');
  text.replace(text.find(honest), honest.size(), planted);
  std::ofstream(cache + "/digests.json") << text;
  EXPECT_EQ(*model_digest(file, cache, DigestTrust::kCached), planted);
  EXPECT_EQ(*model_digest(file, cache, DigestTrust::kHash), honest);
  EXPECT_EQ(*model_digest(file, cache, DigestTrust::kCached), honest);  // and it is put right
  // Same size and times, another file: the inode differs.
  const std::string other = folder.write("other", "abd");
  const auto time = fs::last_write_time(file);
  fs::rename(other, file);
  fs::last_write_time(file, time);
  EXPECT_NE(*model_digest(file, cache, DigestTrust::kCached), honest);
}

TEST(ModelDigest, ABrokenCacheDoesNoHarm) {
  const TemporaryFolder folder;
  const std::string file = folder.write("m.gguf", "abc");
  const std::string digest = *model_digest(file, folder.path(), DigestTrust::kHash);
  for (const char* text : {"", "{", "[]", "{\"version\":1}", "{\"version\":1,\"files\":[]}",
                           "{\"version\":\"1\",\"files\":{}}"}) {
    folder.write("digests.json", text);
    EXPECT_EQ(model_digest(file, folder.path(), DigestTrust::kCached).value_or(""), digest) << text;
  }
  // A cache folder that cannot be made: the digest still comes.
  EXPECT_EQ(model_digest(file, file + "/cache", DigestTrust::kCached).value_or(""), digest);
  EXPECT_EQ(model_digest("/nonexistent", folder.path(), DigestTrust::kCached).error().code,
            "model_missing");
}

TEST(Paths, ReadsAreLimited) {
  const TemporaryFolder folder;
  const std::string file = folder.write("t", "12345");
  EXPECT_EQ(read_text_file(file, 5).value_or(""), "12345");
  EXPECT_EQ(read_text_file(file, 4).error().code, "input_too_large");
  EXPECT_EQ(read_text_file(folder.path(), 4).error().code, "io_open");
  EXPECT_EQ(read_text_file(folder.path() + "/none", 4).error().kind, ErrorKind::kNotFound);
}

TEST(Paths, AtomicWriteReplacesAndLeavesNothing) {
  const TemporaryFolder folder;
  const std::string file = folder.write("t", "old");
  ASSERT_TRUE(write_file_atomically(file, "new").has_value());
  EXPECT_EQ(read_file(file), "new");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
  EXPECT_EQ(write_file_atomically(folder.path() + "/no/t", "x").error().code, "io_write");
}

TEST(Paths, FoldersAreMadeWithParents) {
  const TemporaryFolder folder;
  ASSERT_TRUE(make_folder(folder.path() + "/a/b").has_value());
  struct stat info {};
  ASSERT_EQ(stat((folder.path() + "/a/b").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0700U);
  const std::string file = folder.write("f", "");
  EXPECT_EQ(make_folder(file + "/x").error().code, "io_folder");
}

TEST(LineReader, SplitsLinesAndKeepsTheLastOne) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const std::string text = "one\r\n\ntwo";
  ASSERT_EQ(write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
  close(ends[1]);
  LineReader reader(ends[0]);
  std::string line;
  for (const char* expected : {"one", "", "two"}) {
    ASSERT_EQ(*reader.next(line), LineReader::Event::kLine);
    EXPECT_EQ(line, expected);
  }
  EXPECT_EQ(*reader.next(line), LineReader::Event::kEnd);
  close(ends[0]);
}

TEST(LineReader, EndlessLineIsRefused) {
  const TemporaryFolder folder;
  const std::string file = folder.write("long", std::string(LineReader::kMaxLine + 8192, 'x'));
  std::FILE* input = std::fopen(file.c_str(), "rb");
  LineReader reader(fileno(input));
  std::string line;
  EXPECT_EQ(reader.next(line).error().code, "input_too_large");
  std::fclose(input);
}

TEST(Mass, BarHasExactlyItsCells) {
  float mass[kKvClasses] = {};
  mass[0] = 0.25F;
  mass[1] = 0.5F;
  mass[6] = 0.25F;
  EXPECT_EQ(mass_bar(mass, 8, Colour::kOff), "[SSAAAAOO] sink 25 % anchor 50 % output 25 %");
  mass[6] = 0.2501F;  // sums to a hair over 1
  EXPECT_EQ(mass_bar(mass, 8, Colour::kOff).find(']'), 9U);
  const float none[kKvClasses] = {};
  EXPECT_EQ(mass_bar(none, 8, Colour::kOff), "[]");
  EXPECT_NE(mass_bar(mass, 8, Colour::kOn).find("\x1b["), std::string::npos);
}

TEST(Mass, JsonNamesClasses) {
  float mass[kKvClasses] = {};
  mass[1] = 0.5F;
  EXPECT_EQ(mass_json(mass).dump(), "{\"anchor\":0.5}");
}

TEST(StatusLine, SilentWhileIdle) {
  StatusLine status;
  EngineStats stats;
  EXPECT_FALSE(status.next(stats, 10).has_value());
  stats.steps = 5;
  stats.prompt_tokens = 100;
  stats.cached_tokens = 25;
  stats.generated_tokens = 50;
  stats.pages_total = 100;
  stats.pages_used = 10;
  stats.running = 1;
  EXPECT_EQ(status.next(stats, 10).value_or(""),
            "prompt 10.0 tok/s, generation 5.0 tok/s, running 1, waiting 0, KV used 10.0 %, "
            "prefix cache hits 25.0 %");
  stats.running = 0;
  EXPECT_FALSE(status.next(stats, 10).has_value());
}

TEST(Format, Units) {
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(std::uint64_t{3} << 19), "1.5 MiB");
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(134'515'008), "134.5 M");
  EXPECT_EQ(short_digest("sha256:0123456789abcdef"), "sha256:0123456789ab");
}

TEST(BuildInfo, IsFilledIn) {
  const BuildInfo info = build_info();
  EXPECT_FALSE(info.commit.empty());
  EXPECT_FALSE(info.isa.empty());
  EXPECT_EQ(version_string(), info.version + "+" + info.commit);
}

TEST(Bench, LatencyIsAQuantileOfGapsOrOfWholePrompts) {
  BenchResult generation;
  generation.bench_case.generate = 101;
  for (int i = 100; i >= 0; --i) generation.gaps.push_back(0.001 * i);
  generation.seconds = {5.0};
  EXPECT_DOUBLE_EQ(generation.latency(0.5), 0.050);
  EXPECT_DOUBLE_EQ(generation.latency(0.99), 0.099);
  BenchResult prompt;
  prompt.bench_case.prompt = 512;
  prompt.seconds = {0.3, 0.1, 0.2};
  EXPECT_DOUBLE_EQ(prompt.latency(0.5), 0.2);
  EXPECT_DOUBLE_EQ(BenchResult{}.latency(0.5), 0.0);
}

}  // namespace
}  // namespace fieldprint::app
