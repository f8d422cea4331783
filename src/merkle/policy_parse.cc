#include <algorithm>
#include <set>

#include "merkle/policy.h"
#include "merkle/text.h"

namespace fieldprint {
namespace {

constexpr std::size_t kMaxPolicyBytes = 65536;
constexpr std::size_t kMaxOfAKind = 256;
constexpr std::string_view kBlank = " \t";

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  while (true) {
    line.remove_prefix(std::min(line.find_first_not_of(kBlank), line.size()));
    if (line.empty()) return words;
    const std::size_t end = std::min(line.find_first_of(kBlank), line.size());
    words.push_back(line.substr(0, end));
    line.remove_prefix(end);
  }
}

bool allowed_octet(char c) {
  const auto octet = static_cast<unsigned char>(c);
  return c == '\t' || c == '\n' || (octet >= 0x20 && octet != 0x7F);
}

}  // namespace

class PolicyParser {
 public:
  Result<Policy> parse(std::string_view text);

 private:
  Status line(const std::vector<std::string_view>& words);
  Status log(const std::vector<std::string_view>& words);
  Status witness(const std::vector<std::string_view>& words);
  Status group(const std::vector<std::string_view>& words);
  Status quorum(const std::vector<std::string_view>& words);
  Status define(Policy::Name name);
  Result<VerifierKey> key(std::string_view vkey) const;
  std::size_t find(std::string_view name) const;  // names_.size() if unknown
  tl::unexpected<Error> invalid(const std::string& what) const;

  Policy policy_;
  std::size_t number_ = 0;  // of the line
  std::size_t groups_ = 0;
  bool has_quorum_ = false;
  std::string quorum_name_;
};

tl::unexpected<Error> PolicyParser::invalid(const std::string& what) const {
  return fail(ErrorKind::kInvalid, "policy_invalid",
              "policy line " + std::to_string(number_) + ": " + what);
}

std::size_t PolicyParser::find(std::string_view name) const {
  const auto& names = policy_.names_;
  const auto found = std::find_if(names.begin(), names.end(),
                                  [&](const Policy::Name& known) { return known.name == name; });
  return static_cast<std::size_t>(found - names.begin());
}

Result<VerifierKey> PolicyParser::key(std::string_view vkey) const {
  Result<VerifierKey> parsed = VerifierKey::parse(vkey);
  if (!parsed) {
    parsed.error().message =
        "policy line " + std::to_string(number_) + ": " + parsed.error().message;
  }
  return parsed;
}

Status PolicyParser::define(Policy::Name name) {
  if (name.name == "none") return invalid("'none' cannot be defined");
  if (find(name.name) != policy_.names_.size()) return invalid("this name is defined twice");
  policy_.names_.push_back(std::move(name));
  return {};
}

Status PolicyParser::log(const std::vector<std::string_view>& words) {
  if (words.size() < 2 || words.size() > 3) return invalid("expected: log VKEY [URL]");
  if (policy_.logs_.size() == kMaxOfAKind) return invalid("more than 256 logs");
  FP_ASSIGN(VerifierKey parsed, key(words[1]));
  for (const PolicyLog& other : policy_.logs_) {
    if (other.key.key() == parsed.key()) return invalid("this log key is listed twice");
  }
  policy_.logs_.push_back({std::move(parsed), std::string(words.size() > 2 ? words[2] : "")});
  return {};
}

Status PolicyParser::witness(const std::vector<std::string_view>& words) {
  if (words.size() < 3 || words.size() > 4) return invalid("expected: witness NAME VKEY [URL]");
  if (policy_.witnesses_.size() == kMaxOfAKind) return invalid("more than 256 witnesses");
  FP_ASSIGN(VerifierKey parsed, key(words[2]));
  if (parsed.type() != NoteKeyType::kCosignature) {
    return invalid("a witness key has type 4 (cosignature), this one has type 1");
  }
  for (const PolicyWitness& other : policy_.witnesses_) {
    if (other.key.key() == parsed.key()) return invalid("this witness key is listed twice");
  }
  FP_TRY(define({std::string(words[1]), policy_.witnesses_.size(), 0, {}, false}));
  policy_.witnesses_.push_back(
      {std::string(words[1]), std::move(parsed), std::string(words.size() > 3 ? words[3] : "")});
  return {};
}

Status PolicyParser::group(const std::vector<std::string_view>& words) {
  if (words.size() < 4) return invalid("expected: group NAME all|any|K MEMBER...");
  if (groups_++ == kMaxOfAKind) return invalid("more than 256 groups");
  const std::size_t count = words.size() - 3;
  std::uint64_t threshold = 0;
  if (words[2] == "all") {
    threshold = count;
  } else if (words[2] == "any") {
    threshold = 1;
  } else if (!parse_decimal(words[2], threshold) || threshold < 1 || threshold > count) {
    return invalid("the threshold is 'all', 'any' or a number from 1 to that of the members");
  }
  Policy::Name name{std::string(words[1]), 0, static_cast<std::size_t>(threshold), {}, false};
  for (std::size_t i = 3; i < words.size(); ++i) {
    const std::size_t member = find(words[i]);
    if (member == policy_.names_.size()) return invalid("a member is not defined above");
    if (policy_.names_[member].taken) return invalid("a member is already in a group");
    policy_.names_[member].taken = true;
    name.members.push_back(member);
  }
  return define(std::move(name));
}

Status PolicyParser::quorum(const std::vector<std::string_view>& words) {
  if (words.size() != 2) return invalid("expected: quorum NAME|none");
  if (has_quorum_) return invalid("a second quorum line");
  if (words[1] != "none" && find(words[1]) == policy_.names_.size()) {
    return invalid("the quorum's name is not defined above");
  }
  has_quorum_ = true;
  quorum_name_ = words[1];
  return {};
}

Status PolicyParser::line(const std::vector<std::string_view>& words) {
  if (words.empty() || words[0].starts_with('#')) return {};
  if (words[0] == "log") return log(words);
  if (words[0] == "witness") return witness(words);
  if (words[0] == "group") return group(words);
  if (words[0] == "quorum") return quorum(words);
  return invalid("begins with none of log, witness, group, quorum");
}

Result<Policy> PolicyParser::parse(std::string_view text) {
  if (text.size() > kMaxPolicyBytes) {
    return fail(ErrorKind::kTooLarge, "policy_too_large", "a policy has at most 64 KiB");
  }
  for (std::string_view rest = text; !rest.empty();) {
    ++number_;
    std::string_view current;
    if (!take_line(rest, current)) return invalid("does not end in a newline");
    if (!std::all_of(current.begin(), current.end(), allowed_octet)) {
      return invalid("holds a control character");
    }
    FP_TRY(line(words_of(current)));
  }
  if (!has_quorum_) return invalid("the file has no quorum line");
  // Names defined after the quorum line move the place that means none.
  policy_.quorum_ = find(quorum_name_);
  return std::move(policy_);
}

Result<Policy> Policy::parse(std::string_view text) { return PolicyParser().parse(text); }

}  // namespace fieldprint
