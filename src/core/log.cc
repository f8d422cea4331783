#include "core/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <memory>
#include <utility>

#include "core/check.h"

namespace fieldprint {
namespace {

thread_local std::string request_id;
std::atomic<LogFormat> active_format{LogFormat::kText};

std::string_view level_name(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarn:
      return "warn";
    case LogLevel::kError:
      return "error";
  }
  FP_UNREACHABLE();
}

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  FP_UNREACHABLE();
}

// Length of the well-formed UTF-8 sequence at text[i], 0 if there is none.
std::size_t sequence_length(std::string_view text, std::size_t i) {
  const auto at = [&](std::size_t j) {
    return j < text.size() ? static_cast<unsigned char>(text[j]) : 0U;
  };
  const auto tail = [&](std::size_t j) { return (at(j) & 0xC0U) == 0x80U; };
  const unsigned lead = at(i);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return tail(i + 1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const unsigned low = lead == 0xE0 ? 0xA0 : 0x80;
    const unsigned high = lead == 0xED ? 0x9F : 0xBF;
    return at(i + 1) >= low && at(i + 1) <= high && tail(i + 2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const unsigned low = lead == 0xF0 ? 0x90 : 0x80;
    const unsigned high = lead == 0xF4 ? 0x8F : 0xBF;
    return at(i + 1) >= low && at(i + 1) <= high && tail(i + 2) && tail(i + 3) ? 4 : 0;
  }
  return 0;
}

void append_escaped(std::string& out, std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = sequence_length(text, i);
    const char c = text[i];
    if (length == 0) {
      out += "\xEF\xBF\xBD";
      ++i;
      continue;
    }
    if (length > 1) {
      out += text.substr(i, length);
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      char code[8];
      std::snprintf(code, sizeof(code), "\\u%04x", static_cast<unsigned>(c) & 0xFFU);
      out += code;
    } else {
      out += c;
    }
    i += length;
  }
}

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  append_escaped(out, text);
  out += '"';
}

void append_value(std::string& out, const LogField& field, LogFormat format) {
  if (const auto* text = std::get_if<std::string>(&field.value)) {
    const bool bare = format == LogFormat::kText && !text->empty() &&
                      text->find_first_of(" \"=") == std::string::npos;
    if (bare) {
      append_escaped(out, *text);
    } else {
      append_quoted(out, *text);
    }
  } else if (const auto* integer = std::get_if<std::int64_t>(&field.value)) {
    out += std::to_string(*integer);
  } else if (const auto* number = std::get_if<double>(&field.value)) {
    if (!std::isfinite(*number)) {
      out += "null";
      return;
    }
    char digits[32];
    std::snprintf(digits, sizeof(digits), "%.6g", *number);
    out += digits;
  } else {
    out += std::get<bool>(field.value) ? "true" : "false";
  }
}

// The sink writes what it is given plus the time; the rest of the line is ours.
std::shared_ptr<spdlog::logger> make_logger() {
  auto logger = std::make_shared<spdlog::logger>("fieldprint",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %v");
  logger->flush_on(spdlog::level::debug);
  return logger;
}

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = make_logger();
  return *instance;
}

void write_line(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  if (!logger().should_log(spdlog_level(level))) return;
  const std::string line =
      format_log_line(active_format.load(), level, message, request_id, fields);
  logger().log(spdlog_level(level), spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace

void log_init(const LogOptions& options) {
  LogFormat format = options.format;
  if (format == LogFormat::kAuto) {
    format = isatty(STDERR_FILENO) == 1 ? LogFormat::kText : LogFormat::kJson;
  }
  active_format.store(format);
  logger().set_level(spdlog_level(options.level));
  // A JSON line must start with '{', so its time is a field that the sink fills in.
  logger().set_pattern(format == LogFormat::kJson ? "{\"time\":\"%Y-%m-%dT%H:%M:%S.%e%z\",%v"
                                                  : "%Y-%m-%dT%H:%M:%S.%e%z %v");
}

void log_debug(std::string_view message, std::initializer_list<LogField> fields) {
  write_line(LogLevel::kDebug, message, fields);
}
void log_info(std::string_view message, std::initializer_list<LogField> fields) {
  write_line(LogLevel::kInfo, message, fields);
}
void log_warn(std::string_view message, std::initializer_list<LogField> fields) {
  write_line(LogLevel::kWarn, message, fields);
}
void log_error(std::string_view message, std::initializer_list<LogField> fields) {
  write_line(LogLevel::kError, message, fields);
}

LogRequestScope::LogRequestScope(std::string id)
    : previous_(std::exchange(request_id, std::move(id))) {}
LogRequestScope::~LogRequestScope() { request_id = std::move(previous_); }

Result<LogLevel> parse_log_level(std::string_view name) {
  for (const LogLevel level :
       {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarn, LogLevel::kError}) {
    if (name == level_name(level)) return level;
  }
  return fail(ErrorKind::kInvalid, "invalid_option", "log level must be debug, info, warn or error",
              "log-level");
}

Result<LogFormat> parse_log_format(std::string_view name) {
  if (name == "auto") return LogFormat::kAuto;
  if (name == "text") return LogFormat::kText;
  if (name == "json") return LogFormat::kJson;
  return fail(ErrorKind::kInvalid, "invalid_option", "log format must be auto, text or json",
              "log-format");
}

std::string format_log_line(LogFormat format, LogLevel level, std::string_view message,
                            std::string_view id, std::initializer_list<LogField> fields) {
  std::string out;
  if (format == LogFormat::kJson) {
    out += "\"level\":\"";
    out += level_name(level);
    out += "\",\"message\":";
    append_quoted(out, message);
    if (!id.empty()) {
      out += ",\"request_id\":";
      append_quoted(out, id);
    }
    for (const LogField& field : fields) {
      out += ',';
      append_quoted(out, field.key);
      out += ':';
      append_value(out, field, format);
    }
    out += '}';
    return out;
  }
  out += level_name(level);
  out += ' ';
  append_escaped(out, message);
  if (!id.empty()) {
    out += " request_id=";
    append_escaped(out, id);
  }
  for (const LogField& field : fields) {
    out += ' ';
    out += field.key;
    out += '=';
    append_value(out, field, format);
  }
  return out;
}

}  // namespace fieldprint
