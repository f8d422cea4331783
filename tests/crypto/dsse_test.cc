#include "crypto/dsse.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "codec/base64.h"

namespace fieldprint {
namespace {

constexpr std::string_view kType = kInTotoPayloadType;

SignerKey signer(const char* name) {
  return std::move(*SignerKey::generate(name, NoteKeyType::kEd25519));
}

std::string code_of(const Result<DsseVerified>& result) {
  return result ? "accepted" : result.error().code;
}

std::string parse_code(std::string_view json) {
  const auto envelope = dsse_parse(json);
  return envelope ? "accepted" : envelope.error().code;
}

// protocol.md, "Test Vectors".
TEST(Dsse, PaeVector) {
  EXPECT_EQ(dsse_pae("http://example.com/HelloWorld", "hello world"),
            "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
  EXPECT_EQ(dsse_pae("", ""), "DSSEv1 0  0 ");
  EXPECT_EQ(dsse_pae("\xC3\xB6", std::string_view("\0", 1)),
            std::string_view("DSSEv1 2 \xC3\xB6 1 \0", 15));
}

TEST(Dsse, ReadsTheEnvelopeOfTheVector) {
  const auto envelope = dsse_parse(
      R"({"payload": "aGVsbG8gd29ybGQ=", "payloadType": "http://example.com/HelloWorld",
          "signatures": [{"sig": "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ-O88"}]})");
  ASSERT_FALSE(envelope);  // two alphabets in one text
  const auto good = dsse_parse(
      R"({"payload": "aGVsbG8gd29ybGQ=", "payloadType": "http://example.com/HelloWorld",
          "signatures": [{"sig": "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F-FnZ"}], "extra": {"a": [1]}})");
  ASSERT_TRUE(good) << good.error().message;
  EXPECT_EQ(good->untrusted_payload, "hello world");
  EXPECT_EQ(good->signatures[0].keyid, "");
  EXPECT_EQ(good->signatures[0].signature.size(), 27U);
}

// docs/formats/dsse.md; the signature was made with Go's crypto/ed25519.
TEST(Dsse, KnownEnvelope) {
  const auto key = SignerKey::parse(
      "PRIVATE+KEY+example.com/log+cc714670+AZ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g");
  EXPECT_EQ(dsse_print(dsse_sign("http://example.com/HelloWorld", "hello world", *key)),
            R"({"payload":"aGVsbG8gd29ybGQ=","payloadType":"http://example.com/HelloWorld",)"
            R"("signatures":[{"keyid":"example.com/log+cc714670",)"
            R"("sig":"4DHX3Zn4qpBKvEj7maE8O9u9bjXEnPLLnyXVUJ2PXJR8DSLcL3QDpFvfJOj3pB/)"
            R"(SPHsl6Jg4boxsMb6KvuYABw=="}]})");
}

TEST(Dsse, SignPrintParseVerify) {
  const SignerKey a = signer("a"), b = signer("b");
  DsseEnvelope envelope = dsse_sign(kType, "{\"x\":1}", a);
  dsse_add_signature(envelope, b);
  const auto read = dsse_parse(dsse_print(envelope));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(dsse_print(*read), dsse_print(envelope));
  EXPECT_EQ(read->signatures[0].keyid, a.verifier().id_text());
  const VerifierKey keys[] = {b.verifier(), a.verifier()};
  const auto verified = dsse_verify(*read, kType, keys, 2);
  ASSERT_TRUE(verified) << verified.error().message;
  EXPECT_EQ(verified->payload, "{\"x\":1}");
  ASSERT_EQ(verified->signers.size(), 2U);
  EXPECT_EQ(verified->signers[0].name(), "b");
}

TEST(Dsse, CountsDistinctKeysOnly) {
  const SignerKey a = signer("a"), b = signer("b"), stranger = signer("c");
  const auto alias = VerifierKey::make("alias", NoteKeyType::kEd25519, a.verifier().key());
  const VerifierKey keys[] = {a.verifier(), b.verifier(), *alias};
  DsseEnvelope envelope = dsse_sign(kType, "p", a);
  dsse_add_signature(envelope, a);
  dsse_add_signature(envelope, stranger);
  EXPECT_EQ(code_of(dsse_verify(envelope, kType, keys, 1)), "accepted");
  EXPECT_EQ(code_of(dsse_verify(envelope, kType, keys, 2)), "dsse_threshold");
  EXPECT_EQ(code_of(dsse_verify(envelope, kType, keys, 3)), "dsse_threshold_invalid");
  EXPECT_EQ(code_of(dsse_verify(envelope, kType, keys, 0)), "dsse_threshold_invalid");
  EXPECT_EQ(code_of(dsse_verify(envelope, kType, {}, 1)), "dsse_threshold_invalid");
}

TEST(Dsse, KeyidDecidesNothing) {
  const SignerKey a = signer("a"), b = signer("b");
  DsseEnvelope envelope = dsse_sign(kType, "p", a);
  envelope.signatures[0].keyid = b.verifier().id_text();
  const VerifierKey keys[] = {a.verifier(), b.verifier()};
  const auto verified = dsse_verify(envelope, kType, keys, 1);
  ASSERT_TRUE(verified);
  EXPECT_EQ(verified->signers[0], a.verifier());
  const VerifierKey only_b[] = {b.verifier()};
  EXPECT_EQ(code_of(dsse_verify(envelope, kType, only_b, 1)), "dsse_threshold");
}

TEST(Dsse, TypeAndPayloadAreSigned) {
  const SignerKey a = signer("a");
  const VerifierKey keys[] = {a.verifier()};
  DsseEnvelope envelope = dsse_sign(kType, "payload", a);
  EXPECT_EQ(code_of(dsse_verify(envelope, "another/type", keys, 1)), "dsse_type");
  envelope.payload_type = "another/type";
  EXPECT_EQ(code_of(dsse_verify(envelope, "another/type", keys, 1)), "dsse_threshold");
  envelope = dsse_sign(kType, "payload", a);
  envelope.untrusted_payload += ' ';
  EXPECT_EQ(code_of(dsse_verify(envelope, kType, keys, 1)), "dsse_threshold");
}

TEST(Dsse, RefusesBadEnvelopes) {
  EXPECT_EQ(parse_code("[]"), "dsse_invalid");
  EXPECT_EQ(parse_code("{"), "json_invalid");
  EXPECT_EQ(parse_code(R"({"payload":"","payloadType":"t","signatures":[]})"), "dsse_invalid");
  EXPECT_EQ(parse_code(R"({"payload":"","payloadType":"t"})"), "dsse_invalid");
  EXPECT_EQ(parse_code(R"({"payload":"","signatures":[{"sig":"AA=="}]})"), "dsse_invalid");
  EXPECT_EQ(parse_code(R"({"payloadType":"t","signatures":[{"sig":"AA=="}]})"), "dsse_invalid");
  EXPECT_EQ(parse_code(R"({"payload":"A","payloadType":"t","signatures":[{"sig":"AA=="}]})"),
            "dsse_invalid");
  EXPECT_EQ(parse_code(R"({"payload":"","payloadType":"t","signatures":[{"sig":""}]})"),
            "dsse_invalid");
  EXPECT_EQ(parse_code(R"({"payload":"","payloadType":"t","signatures":["AA=="]})"),
            "dsse_invalid");
  EXPECT_EQ(
      parse_code(R"({"payload":"","payloadType":"t","signatures":[{"sig":"AA==","keyid":1}]})"),
      "dsse_invalid");
  EXPECT_EQ(
      parse_code(R"({"payload":"","payload":"","payloadType":"t","signatures":[{"sig":"AA=="}]})"),
      "json_invalid");
  std::string deep = R"({"payload":"","payloadType":"t","signatures":[{"sig":"AA=="}],"x":)";
  deep += std::string(20, '[') + std::string(20, ']') + "}";
  EXPECT_EQ(parse_code(deep), "json_too_large");
  EXPECT_EQ(parse_code(std::string(std::size_t{2} << 20, ' ')), "dsse_too_large");
  std::string many = R"({"payload":"","payloadType":"t","signatures":[{"sig":"AA=="})";
  for (int i = 0; i < 64; ++i) many += R"(,{"sig":"AA=="})";
  EXPECT_EQ(parse_code(many + "]}"), "dsse_invalid");
}

RC_GTEST_PROP(Dsse, AnyPayloadSurvives, (const std::vector<std::uint8_t>& bytes)) {
  static const SignerKey key = signer("prop");
  const std::string payload(bytes.begin(), bytes.end());
  const VerifierKey keys[] = {key.verifier()};
  const auto read = dsse_parse(dsse_print(dsse_sign(kType, payload, key)));
  RC_ASSERT(read.has_value());
  const auto verified = dsse_verify(*read, kType, keys, 1);
  RC_ASSERT(verified.has_value());
  RC_ASSERT(verified->payload == payload);
}

}  // namespace
}  // namespace fieldprint
