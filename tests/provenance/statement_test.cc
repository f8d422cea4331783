#include "provenance/statement.h"

#include "support.h"

// After gtest, which it needs.
#include <rapidcheck/gtest.h>

namespace fieldprint {
namespace {

using test::code;
using test::fake_digest;
using test::need;
using test::World;

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Statement, PrintsTheDocumentedBytes) {
  Statement s;
  s.type = StatementType::kPromotion;
  s.subject_name = "keeper";
  s.subject_digest = "sha256:" + std::string(64, 'a');
  s.scope = {"acme", "sha256:" + std::string(64, 'b')};
  s.issued_at = 1700000000;
  s.evidence = {"sha256:" + std::string(64, 'c')};
  s.reason = "passed review";
  s.window = {1700000000, 1731536000};
  s.sequence = 1;
  const std::string text = need(print_statement(s));
  EXPECT_EQ(text,
            R"({"_type":"https://in-toto.io/Statement/v1","predicate":{"evidence":["sha256:)" +
                std::string(64, 'c') +
                R"("],"issued_at":1700000000,"not_after":1731536000,"not_before":1700000000,)"
                R"("previous":"","reason":"passed review","scope":{"model_digest":"sha256:)" +
                std::string(64, 'b') +
                R"(","tenant":"acme"},"sequence":1},"predicateType":)"
                R"("https://fieldprint/promotion/v1","subject":[{"digest":{"sha256":")" +
                std::string(64, 'a') + R"("},"name":"keeper"}]})");
  // Stated in docs/formats/statements.md.
  EXPECT_EQ(statement_digest(text),
            "sha256:d672584cd73c22a130c25fa01eae59b9c76be5e1e96d6a2b01972f213e267383");
}

TEST(Statement, EachTypeReadsBackToItself) {
  const World world;
  for (const Statement& s : {world.promotion(fake_digest("a")), world.revocation(fake_digest("a")),
                             world.override_of(fake_digest("a"))}) {
    const std::string text = need(print_statement(s));
    const Statement again = need(parse_statement(text));
    EXPECT_EQ(again.type, s.type);
    EXPECT_EQ(again.subject_digest, s.subject_digest);
    EXPECT_EQ(again.nonce, s.nonce);
    EXPECT_EQ(again.request.session, s.request.session);
    EXPECT_EQ(need(print_statement(again)), text);
  }
}

TEST(Statement, WhatIsNotOursIsRefusedByItsName) {
  const World world;
  const std::string good = need(print_statement(world.promotion(fake_digest("a"))));
  struct Case {
    const char* from;
    const char* to;
    const char* code;
    const char* named;
  };
  const Case cases[] = {
      {"fieldprint/promotion/v1", "fieldprint/promotion/v2", "statement_type_unknown",
       "promotion/v2"},
      {"fieldprint/promotion/v1", "fieldprint/amnesty/v1", "statement_type_unknown", "amnesty"},
      {"in-toto.io/Statement/v1", "in-toto.io/Statement/v2", "statement_type_unknown",
       "Statement/v2"},
      {R"("sequence":1)", R"("sequence":1,"unless":"raining")", "statement_unknown_field",
       "unless"},
      {R"("sequence":1)", R"("sequence":0)", "statement_corrupt", "sequence"},
      {R"("sequence":1)", R"("sequence":true)", "statement_corrupt", "expected"},
      {R"(,"sequence":1)", "", "statement_corrupt", "sequence"},
      {R"("sequence":1)", R"("sequence": 1)", "statement_corrupt", "canonical"},
      {R"("sequence":1)", R"("sequence":2)", "statement_field_invalid", "previous"},
      {R"("tenant":"acme")", R"("tenant":"Acme")", "scope_invalid", "tenant"},
      {R"("tenant":"acme")", R"("tenant":"")", "scope_invalid", "tenant"},
      {R"("reason":"passed review")", R"("reason":"a\nb")", "statement_field_invalid", "reason"},
  };
  for (const Case& c : cases) {
    const auto parsed = parse_statement(replaced(good, c.from, c.to));
    ASSERT_FALSE(parsed) << c.to;
    EXPECT_EQ(parsed.error().code, c.code) << c.to << ": " << parsed.error().message;
    EXPECT_NE(parsed.error().message.find(c.named), std::string::npos) << parsed.error().message;
  }
  // A foreign in-toto statement of any shape is named, not called broken.
  const auto slsa = parse_statement(
      R"({"_type": "https://in-toto.io/Statement/v1", "subject": [], )"
      R"("predicateType": "https://slsa.dev/provenance/v1", "predicate": {"ok": true}})");
  EXPECT_EQ(code(slsa), "statement_type_unknown");
  EXPECT_NE(slsa.error().message.find("slsa.dev/provenance/v1"), std::string::npos);
}

TEST(Statement, SizeAndDepthAreBounded) {
  EXPECT_EQ(code(parse_statement(std::string(kStatementMaxBytes + 1, ' '))), "statement_too_large");
  EXPECT_EQ(code(parse_statement(std::string(9000, '['))), "statement_too_large");
  std::string wide = "[0";
  for (int i = 0; i < 600; ++i) wide += ",0";
  EXPECT_EQ(code(parse_statement(wide + "]")), "statement_too_large");
  const World world;
  Statement s = world.promotion(fake_digest("a"));
  s.evidence.assign(kStatementMaxEvidence + 1, fake_digest("e"));
  EXPECT_EQ(code(print_statement(s)), "statement_field_invalid");
}

TEST(Statement, FieldsBelongToTheirType) {
  const World world;
  Statement s = world.revocation(fake_digest("a"));
  s.window = {1, 2};
  EXPECT_EQ(code(check_statement(s)), "statement_field_invalid") << "a revocation never ends";
  s = world.promotion(fake_digest("a"));
  s.nonce = std::string(32, '0');
  EXPECT_EQ(code(check_statement(s)), "statement_field_invalid");
  s = world.promotion(fake_digest("a"));
  s.window.not_after = s.window.not_before;
  EXPECT_EQ(code(check_statement(s)), "statement_field_invalid");
  s = world.override_of(fake_digest("a"));
  s.nonce[5] = 'G';
  EXPECT_EQ(code(check_statement(s)), "statement_field_invalid");
  s = world.override_of(fake_digest("a"));
  s.window.not_after = s.window.not_before + kOverrideMaxSeconds + 1;
  EXPECT_EQ(code(check_statement(s)), "statement_field_invalid") << "an override is short-lived";
}

TEST(Scope, CoversItsTenantAndModelOnly) {
  const std::string model = fake_digest("m");
  const Place place{"acme", model};
  EXPECT_TRUE(covers({"acme", model}, place));
  EXPECT_TRUE(covers({"*", model}, place));
  EXPECT_TRUE(covers({"acme", "*"}, place));
  EXPECT_TRUE(covers({"*", "*"}, place));
  EXPECT_FALSE(covers({"acm", model}, place));
  EXPECT_FALSE(covers({"acme-2", model}, place));
  EXPECT_FALSE(covers({"acme", fake_digest("n")}, place));
  EXPECT_EQ(code(check_place({"*", model})), "scope_invalid") << "a place is one place";
  EXPECT_EQ(code(check_place({"acme", "*"})), "scope_invalid");
}

RC_GTEST_PROP(Statement, AnyFieldsReadBackOrAreRefusedByName,
              (std::string name, std::string reason, std::string session, std::int64_t from,
               std::int64_t length, std::vector<bool> evidence)) {
  const World world;
  Statement s = world.override_of(fake_digest("a"));
  s.subject_name = name;
  s.reason = reason;
  s.request.session = session;
  s.window = {from, from % 1'000'000 + length % 1'000'000};
  s.evidence.assign(evidence.size(), fake_digest("e"));
  const auto text = print_statement(s);
  if (!text) {
    RC_ASSERT(text.error().code == "statement_field_invalid" ||
              text.error().code == "statement_too_large");
    return;
  }
  const auto again = parse_statement(*text);
  RC_ASSERT(again.has_value());
  RC_ASSERT(again->subject_name == name && again->request.session == session);
  RC_ASSERT(*print_statement(*again) == *text);
}

RC_GTEST_PROP(Statement, EveryChangedByteChangesTheMeaningOrIsRefused, ()) {
  static const World world;
  static const std::string good = need(print_statement(world.promotion(fake_digest("a"))));
  std::string text = good;
  const std::size_t at = *rc::gen::inRange(std::size_t{0}, text.size());
  text[at] = static_cast<char>(*rc::gen::inRange(0, 256));
  RC_PRE(text != good);
  const auto parsed = parse_statement(text);
  if (parsed) RC_ASSERT(*print_statement(*parsed) == text);
}

}  // namespace
}  // namespace fieldprint
