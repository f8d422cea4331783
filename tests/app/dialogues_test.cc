#include "app/calibrate/dialogues.h"

#include <gtest/gtest.h>

#include <map>

#include "app/calibrate/plot.h"

namespace fieldprint::app {
namespace {

std::string code_of(const std::string& text) {
  const auto parsed = parse_dialogues(text);
  return parsed ? "ok" : parsed.error().code + ": " + parsed.error().message;
}

constexpr const char* kGood =
    R"({"kind":"healthy","topic":"t","messages":[{"role":"user","content":"a"}]})";

TEST(Dialogues, OnesThatComeWithTheProgram) {
  const auto dialogues = parse_dialogues(default_dialogues());
  ASSERT_TRUE(dialogues) << dialogues.error().message;
  std::map<std::string, int> breaking;
  std::size_t healthy = 0;
  for (const Dialogue& dialogue : *dialogues) {
    if (dialogue.breaking) {
      ++breaking[dialogue.topic];
    } else {
      ++healthy;
    }
  }
  EXPECT_GE(healthy, 60U);
  EXPECT_EQ(breaking.size(), 4U);
  for (const auto& [way, count] : breaking) EXPECT_GE(count, 10) << way;
}

TEST(Dialogues, ReadsMessagesInOrder) {
  const auto parsed = parse_dialogues(std::string(kGood) + "\n\n" +
                                      R"({"kind":"breaking","topic":"poisoned_tool","messages":[)"
                                      R"({"role":"user","content":"a"},)"
                                      R"({"role":"tool","content":"b"}]})");
  ASSERT_TRUE(parsed) << parsed.error().message;
  ASSERT_EQ(parsed->size(), 2U);
  EXPECT_FALSE((*parsed)[0].breaking);
  EXPECT_TRUE((*parsed)[1].breaking);
  EXPECT_EQ((*parsed)[1].topic, "poisoned_tool");
  ASSERT_EQ((*parsed)[1].messages.size(), 2U);
  EXPECT_EQ((*parsed)[1].messages[1].role, "tool");
  EXPECT_EQ((*parsed)[1].messages[1].content, "b");
}

TEST(Dialogues, NamesTheLineThatIsWrong) {
  const auto with = [](const std::string& from, const std::string& to) {
    std::string line = kGood;
    const std::size_t at = line.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return std::string(kGood) + "\n" + line.replace(at, from.size(), to);
  };
  const std::string bad[] = {
      with("{\"kind\"", "{\"kin\""),
      with("\"healthy\"", "\"sick\""),
      with("\"topic\":\"t\"", "\"topic\":\"\""),
      with("\"topic\":\"t\"", "\"topic\":1"),
      with("\"topic\":\"t\"", "\"topic\":\"t\",\"more\":1"),
      with("[{\"role\":\"user\",\"content\":\"a\"}]", "[]"),
      with("[{\"role\":\"user\",\"content\":\"a\"}]", "[1]"),
      with("\"content\":\"a\"", "\"content\":\"\""),
      with("\"user\"", "\"system\""),
      with("\"user\"", "\"assistant\""),
      std::string(kGood) + "\n{",
      std::string(kGood) + "\n[]",
  };
  for (const std::string& text : bad) {
    EXPECT_EQ(code_of(text).substr(0, 36), "dialogues_invalid: dialogues, line 2") << text;
  }
  EXPECT_EQ(code_of(std::string(kMaxDialogueBytes + 1, ' ')).substr(0, 19), "dialogues_too_large");
  std::string many;
  for (std::size_t i = 0; i <= kMaxDialogues; ++i) many += std::string(kGood) + "\n";
  EXPECT_EQ(code_of(many).substr(0, 19), "dialogues_too_large");
}

TEST(CalibrationPlot, DrawsWhatItIsGiven) {
  CalibrationOutcome outcome;
  outcome.healthy.angles = {0.4, 0.5, 0.6};
  outcome.other.angles = {0.55, 1.5, 2.0};
  const auto roc = roc_curve(outcome.healthy.angles, outcome.other.angles);
  ASSERT_TRUE(roc);
  outcome.other_roc = *roc;
  outcome.limit.limit = 0.75;
  const std::string svg = calibration_svg(outcome, "a <b> & c");
  EXPECT_TRUE(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
  EXPECT_NE(svg.find("a &lt;b&gt; &amp; c"), std::string::npos);
  EXPECT_NE(svg.find("limit 0.75"), std::string::npos);
  EXPECT_EQ(svg.find("breaking"), std::string::npos) << "there were none";
  outcome.breaking.angles = {0.7};
  outcome.breaking_roc = *roc;
  EXPECT_NE(calibration_svg(outcome, "").find("breaking dialogues, AUC 0.889"), std::string::npos);
}

}  // namespace
}  // namespace fieldprint::app
