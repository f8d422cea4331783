// Runs every tests/api/*.case script. Grammar of a script:
//   file  := { comment | case }
//   case  := "== " endpoint " " title NL body "--" NL expected
//   body  := lines; "\xNN" is the byte NN; "@repeat N TEXT@" is N times TEXT
// endpoint is chat, completion, tokenize or detokenize; expected is what describe()
// prints of the parsed request or the error. '#' starts a comment line outside a
// body, blank lines around blocks do not count.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "api/describe.h"
#include "api/request.h"

namespace fieldprint::testing_api {
namespace {

struct Case {
  std::string file;
  std::string endpoint;
  std::string title;
  std::string body;
  std::string expected;
};

void PrintTo(const Case& one, std::ostream* out) { *out << one.title; }

std::string trimmed(std::string text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) {
    text.pop_back();
  }
  return text;
}

std::vector<Case> read_cases(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::vector<Case> cases;
  enum class In { kNowhere, kBody, kExpected } state = In::kNowhere;
  std::string line;
  while (std::getline(in, line)) {
    if (line.rfind("== ", 0) == 0) {
      const std::size_t space = line.find(' ', 3);
      cases.push_back({path.stem().string(), line.substr(3, space - 3),
                       space == std::string::npos ? "" : line.substr(space + 1), "", ""});
      state = In::kBody;
    } else if (line == "--" && state == In::kBody) {
      state = In::kExpected;
    } else if (state == In::kBody) {
      cases.back().body += line + "\n";
    } else if (state == In::kExpected && !line.empty() && line[0] != '#') {
      cases.back().expected += line + "\n";
    }
  }
  return cases;
}

std::vector<Case> all_cases() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(FIELDPRINT_CASES_DIR)) {
    if (entry.path().extension() == ".case") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Case> cases;
  for (const auto& path : paths) {
    for (Case& one : read_cases(path)) cases.push_back(std::move(one));
  }
  return cases;
}

std::string expand(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text.compare(i, 2, "\\x") == 0 && i + 3 < text.size()) {
      out += static_cast<char>(std::stoi(text.substr(i + 2, 2), nullptr, 16));
      i += 3;
    } else if (text.compare(i, 8, "@repeat ") == 0) {
      const std::size_t space = text.find(' ', i + 8);
      const std::size_t end = text.find('@', space);
      const int times = std::stoi(text.substr(i + 8, space - i - 8));
      for (int k = 0; k < times; ++k) out += text.substr(space + 1, end - space - 1);
      i = end;
    } else {
      out += text[i];
    }
  }
  return out;
}

template <typename T>
std::string outcome(const Result<T>& result) {
  return result ? describe(*result) : describe(result.error());
}

std::string run(const Case& one) {
  const std::string body = expand(trimmed(one.body));
  if (one.endpoint == "chat") return outcome(parse_chat_request(body, {}));
  if (one.endpoint == "completion") return outcome(parse_completion_request(body, {}));
  if (one.endpoint == "tokenize") return outcome(parse_tokenize_request(body, {}));
  if (one.endpoint == "detokenize") return outcome(parse_detokenize_request(body, {}));
  return "no such endpoint: " + one.endpoint;
}

class ApiCase : public ::testing::TestWithParam<Case> {};

TEST_P(ApiCase, Matches) {
  const Case& one = GetParam();
  EXPECT_EQ(run(one), one.expected) << one.file << ".case: " << one.title;
}

std::string test_name(const ::testing::TestParamInfo<Case>& info) {
  std::string name = info.param.file + "_" + info.param.endpoint + "_" + info.param.title;
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Scripts, ApiCase, ::testing::ValuesIn(all_cases()), test_name);

TEST(ApiCases, AreFound) { EXPECT_GT(all_cases().size(), 60U); }

}  // namespace
}  // namespace fieldprint::testing_api
