// Log lines to stderr: text on a terminal, one JSON object per line otherwise.
// Each line carries time, level, message, the thread's request id and fields.
//
// Never log prompt or output text; digests and counts only.
// Thread rule: everything may be called from any thread; a line is written whole.
// Before log_init() lines go to stderr as text at level info.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

#include "core/error.h"

namespace fieldprint {

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarn, kError };
enum class LogFormat : std::uint8_t { kAuto, kText, kJson };  // kAuto: by isatty(stderr)

struct LogOptions {
  LogLevel level = LogLevel::kInfo;
  LogFormat format = LogFormat::kAuto;
};

struct LogField {
  std::string_view key;
  std::variant<std::string, std::int64_t, double, bool> value;
};

// May be called again to change level or format.
void log_init(const LogOptions& options);

void log_debug(std::string_view message, std::initializer_list<LogField> fields = {});
void log_info(std::string_view message, std::initializer_list<LogField> fields = {});
void log_warn(std::string_view message, std::initializer_list<LogField> fields = {});
void log_error(std::string_view message, std::initializer_list<LogField> fields = {});

// Sets this thread's request id for its lifetime; nested scopes restore.
class LogRequestScope {
 public:
  explicit LogRequestScope(std::string request_id);
  ~LogRequestScope();
  LogRequestScope(const LogRequestScope&) = delete;
  LogRequestScope& operator=(const LogRequestScope&) = delete;

 private:
  std::string previous_;
};

// Names as used in flags. Errors: invalid_option.
Result<LogLevel> parse_log_level(std::string_view name);    // debug, info, warn, error
Result<LogFormat> parse_log_format(std::string_view name);  // auto, text, json

// One line without time and newline: what the formats do, apart from the sink.
// Bytes that are not UTF-8 become U+FFFD, control characters are escaped.
std::string format_log_line(LogFormat format, LogLevel level, std::string_view message,
                            std::string_view request_id, std::initializer_list<LogField> fields);

}  // namespace fieldprint
