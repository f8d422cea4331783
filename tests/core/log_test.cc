#include "core/log.h"

#include <gtest/gtest.h>

namespace fieldprint {
namespace {

TEST(Log, JsonLineHasRequestIdAndFields) {
  EXPECT_EQ(format_log_line(LogFormat::kJson, LogLevel::kWarn, "slow \"x\"", "req-1",
                            {{"tokens", std::int64_t{7}},
                             {"seconds", 0.25},
                             {"stream", true},
                             {"model", std::string("a\nb")}}),
            "\"level\":\"warn\",\"message\":\"slow \\\"x\\\"\",\"request_id\":\"req-1\","
            "\"tokens\":7,\"seconds\":0.25,\"stream\":true,\"model\":\"a\\u000ab\"}");
}

TEST(Log, TextLineQuotesOnlyWhereNeeded) {
  EXPECT_EQ(format_log_line(LogFormat::kText, LogLevel::kInfo, "listening", "",
                            {{"host", std::string("127.0.0.1")}, {"name", std::string("a b")}}),
            "info listening host=127.0.0.1 name=\"a b\"");
}

TEST(Log, OutsideBytesCannotForgeALineOrBreakUtf8) {
  EXPECT_EQ(format_log_line(LogFormat::kText, LogLevel::kInfo, "a\nerror b", "", {}),
            "info a\\u000aerror b");
  EXPECT_EQ(format_log_line(LogFormat::kText, LogLevel::kInfo, "\xC3\xA9\xC3 \xED\xA0\x80", "", {}),
            "info \xC3\xA9\xEF\xBF\xBD \xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(Log, LinesOnStderrCarryTheThreadsRequestId) {
  log_init({.level = LogLevel::kInfo, .format = LogFormat::kJson});
  testing::internal::CaptureStderr();
  {
    const LogRequestScope outer("req-outer");
    { const LogRequestScope inner("req-inner"); }
    log_debug("hidden");
    log_info("shown");
  }
  log_info("after");
  const std::string lines = testing::internal::GetCapturedStderr();
  EXPECT_EQ(lines.find("hidden"), std::string::npos);
  EXPECT_EQ(lines.rfind("{\"time\":\"20", 0), 0U) << lines;
  EXPECT_NE(lines.find("\"message\":\"shown\",\"request_id\":\"req-outer\"}\n"), std::string::npos);
  EXPECT_NE(lines.find("\"message\":\"after\"}\n"), std::string::npos);
}

TEST(Log, FlagNames) {
  EXPECT_EQ(parse_log_level("warn").value(), LogLevel::kWarn);
  EXPECT_EQ(parse_log_level("loud").error().code, "invalid_option");
  EXPECT_EQ(parse_log_format("json").value(), LogFormat::kJson);
  EXPECT_EQ(parse_log_format("xml").error().code, "invalid_option");
}

}  // namespace
}  // namespace fieldprint
