#include "core/progress.h"

#include <gtest/gtest.h>

#include <vector>

namespace fieldprint {
namespace {

struct Recorder {
  std::vector<std::string> pieces;
  Progress::Sink sink() {
    return [this](std::string_view text) { pieces.emplace_back(text); };
  }
};

TEST(Progress, LinesComeEveryTenPercent) {
  Recorder recorder;
  Progress progress("loading", 1000, ProgressStyle::kLines, recorder.sink());
  for (std::uint64_t done = 0; done <= 1000; ++done) progress.update(done);
  progress.finish();
  ASSERT_EQ(recorder.pieces.size(), 11U);
  EXPECT_EQ(recorder.pieces[0], "loading: 0 %");
  EXPECT_EQ(recorder.pieces[9], "loading: 90 %");
  EXPECT_TRUE(recorder.pieces[10].starts_with("loading: 100 % in ")) << recorder.pieces[10];
}

TEST(Progress, ABarRedrawsOneLineAndEndsIt) {
  Recorder recorder;
  {
    Progress progress("loading", 4, ProgressStyle::kBar, recorder.sink());
    progress.update(2);
    progress.update(1);  // backwards: ignored
    EXPECT_EQ(progress.percent(), 50);
    progress.update(9);  // clamped
    EXPECT_EQ(progress.percent(), 100);
  }
  ASSERT_EQ(recorder.pieces.size(), 3U);
  EXPECT_EQ(recorder.pieces[1], "\rloading [############............]  50 %");
  EXPECT_EQ(recorder.pieces[2], "\n");  // left without finish(): the line still ends
}

TEST(Progress, FinishIsSaidOnce) {
  Recorder recorder;
  Progress progress("loading", 4, ProgressStyle::kBar, recorder.sink());
  progress.finish();
  const std::size_t count = recorder.pieces.size();
  progress.finish();
  progress.update(4);
  EXPECT_EQ(recorder.pieces.size(), count);
  EXPECT_TRUE(recorder.pieces.back().ends_with("\n"));
}

TEST(Progress, SilentSaysNothing) {
  Recorder recorder;
  Progress progress("loading", 4, ProgressStyle::kSilent, recorder.sink());
  progress.update(3);
  progress.finish();
  EXPECT_TRUE(recorder.pieces.empty());
}

}  // namespace
}  // namespace fieldprint
