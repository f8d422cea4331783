#include "merkle/note.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "codec/base64.h"
#include "merkle/keys.h"

namespace fieldprint {
namespace {

constexpr const char* kText = "line one\n\nline three\n";
constexpr const char* kDash = "\xE2\x80\x94 ";

std::string parse_code(std::string_view bytes) {
  const auto note = note_parse(bytes);
  return note ? "accepted" : note.error().code;
}

std::string verify_code(const Note& note, const std::vector<VerifierKey>& keys) {
  const auto verified = note_verify(note, keys);
  return verified ? "accepted" : verified.error().code;
}

TEST(Note, KnownSignatures) {
  const SignerKey log = skey(kLogSecret), witness = skey(kWitnessSecret);
  EXPECT_EQ(signature_line(note_sign(kBody, log)), kLogLine);
  EXPECT_EQ(signature_line(note_cosign(kBody, witness, kWitnessTime)), kWitnessLine);
  const auto note = note_parse(cosigned_checkpoint());
  ASSERT_TRUE(note) << note.error().message;
  EXPECT_EQ(note->text, kBody);
  EXPECT_EQ(note_print(*note), cosigned_checkpoint());
  const VerifierKey keys[] = {vkey(kWitnessVkey), vkey(kLogVkey)};
  const auto verified = note_verify(*note, keys);
  ASSERT_TRUE(verified) << verified.error().message;
  ASSERT_EQ(verified->size(), 2U);
  EXPECT_EQ((*verified)[0].key, keys[1]);
  EXPECT_EQ((*verified)[0].time, std::nullopt);
  EXPECT_EQ((*verified)[1].time, kWitnessTime);
  EXPECT_EQ((*verified)[1].position, 1U);
}

// The example of C2SP signed-note, in all but its key: text with an empty line, UTF-8.
TEST(Note, LastEmptyLineDivides) {
  const SignerKey key = new_key("quasimodo.example/salvatore", NoteKeyType::kEd25519);
  Note note{"Ognuno sta solo\ntrafitto da un raggio di sole:\n\ned \xC3\xA8 subito sera.\n", {}};
  note.signatures.push_back(note_sign(note.text, key));
  const auto read = note_parse(note_print(note));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->text, note.text);
  EXPECT_EQ(verify_code(*read, {key.verifier()}), "accepted");
}

// The examples that C2SP signed-note and tlog-cosignature print.
TEST(Note, ExamplesOfTheSpecifications) {
  const std::string poem =
      "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\n"
      "ed \xC3\xA8 subito sera.\n";
  const std::string signature =
      "quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQ"
      "U0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
  const auto note = note_parse(poem + "\n" + kDash + signature);
  ASSERT_TRUE(note) << note.error().message;
  EXPECT_EQ(note->text, poem);
  EXPECT_EQ(note->signatures[0].key_id, 0x367ba04bU);
  EXPECT_EQ(note->signatures[0].bytes.size(), 64U);

  const auto lines = parse_signature_lines(
      std::string(kDash) +
      "witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2"
      "oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n");
  ASSERT_TRUE(lines) << lines.error().message;
  EXPECT_EQ(lines->front().bytes.size(), 72U);
  std::uint64_t time = 0;  // 1679315147, as the text of the specification says
  for (std::size_t i = 0; i < 8; ++i) time = time << 8 | lines->front().bytes[i];
  EXPECT_EQ(time, kWitnessTime);
}

TEST(Note, UnknownKeysAreIgnoredAndKnownOnesMustHold) {
  const SignerKey a = new_key("a", NoteKeyType::kEd25519), b = new_key("b", NoteKeyType::kEd25519);
  Note note{kText, {note_sign(kText, a), note_sign(kText, b)}};
  EXPECT_EQ(verify_code(note, {a.verifier()}), "accepted");
  EXPECT_EQ(verify_code(note, {}), "note_unsigned");
  const SignerKey same_name = new_key("a", NoteKeyType::kEd25519);
  EXPECT_EQ(verify_code(note, {same_name.verifier()}), "note_unsigned");
  note.signatures[1].bytes[0] ^= 1;  // of a stranger: still ignored
  EXPECT_EQ(verify_code(note, {a.verifier()}), "accepted");
  EXPECT_EQ(verify_code(note, {a.verifier(), b.verifier()}), "note_signature_invalid");
  note.signatures[1].bytes.pop_back();
  EXPECT_EQ(verify_code(note, {a.verifier(), b.verifier()}), "note_signature_invalid");
  note.text = "other\n";
  EXPECT_EQ(verify_code(note, {a.verifier()}), "note_signature_invalid");
}

// A wrong key id or name makes a signature a stranger's, even with the right bytes.
TEST(Note, NameAndIdTogetherNameAKey) {
  const SignerKey a = new_key("a", NoteKeyType::kEd25519);
  Note note{kText, {note_sign(kText, a)}};
  note.signatures[0].key_id ^= 1;
  EXPECT_EQ(verify_code(note, {a.verifier()}), "note_unsigned");
  note.signatures[0].key_id ^= 1;
  note.signatures[0].name = "b";
  EXPECT_EQ(verify_code(note, {a.verifier()}), "note_unsigned");
}

TEST(Note, SixteenSignaturesAreReadAndAHundredAreMost) {
  const SignerKey a = new_key("a", NoteKeyType::kEd25519);
  Note note{kText, {}};
  for (int i = 0; i < 99; ++i) note.signatures.push_back({"stranger", 7, {1}});
  note.signatures.push_back(note_sign(kText, a));
  const auto read = note_parse(note_print(note));
  ASSERT_TRUE(read);
  EXPECT_EQ(verify_code(*read, {a.verifier()}), "accepted");
  note.signatures.push_back({"stranger", 7, {1}});
  EXPECT_EQ(parse_code(note_print(note)), "note_too_large");
}

TEST(Note, Malformed) {
  const std::string good = std::string("text\n\n") + kDash + "name AAAAAAE=\n";
  EXPECT_EQ(parse_code(good), "accepted");
  for (const std::string& bad :
       {std::string(),
        std::string("text\n"),
        std::string("text\n\n"),
        good.substr(0, good.size() - 1),
        std::string("text\n") + kDash + "name AAAAAAE=\n",        // no empty line
        std::string("\n\n") + "name AAAAAAE=\n",                  // no dash
        std::string("text\n\n") + kDash + "name\n",               // no signature
        std::string("text\n\n") + kDash + "name \n",              // empty signature
        std::string("text\n\n") + kDash + " AAAAAAE=\n",          // no name
        std::string("text\n\n") + kDash + "na+me AAAAAAE=\n",     // plus
        std::string("text\n\n") + kDash + "name AAAAAA==\n",      // key id only
        std::string("text\n\n") + kDash + "name AAAAAAF=\n",      // second spelling
        std::string("text\n\n") + kDash + "name AAAAAAE\n",       // no padding
        std::string("text\n\n") + kDash + "name  AAAAAAE=\n",     // two spaces
        std::string("text\n\n") + kDash + "name AAAAAAE= \n",     // space behind
        std::string("text\n\n- name AAAAAAE=\n"),                 // a hyphen is no dash
        std::string("te\txt\n\n") + kDash + "name AAAAAAE=\n",    // tab
        std::string("te\rxt\n\n") + kDash + "name AAAAAAE=\n",    // carriage return
        std::string("te\xFFxt\n\n") + kDash + "name AAAAAAE=\n",  // not UTF-8
        good + "\n",
        good + "more\n"}) {
    EXPECT_EQ(parse_code(bad), "note_invalid") << bad;
  }
  EXPECT_EQ(parse_code(std::string(kMaxNoteBytes + 1, 'x')), "note_too_large");
}

TEST(Note, AmbiguousKeysAreNamed) {
  // Two different keys with one name and id are made by hand only; equal ones are one key.
  const VerifierKey key = vkey(kLogVkey);
  const auto note = note_parse(signed_checkpoint());
  EXPECT_EQ(verify_code(*note, {key, key}), "accepted");
}

TEST(Cosignature, CoversTimeAndText) {
  const SignerKey witness = skey(kWitnessSecret);
  Note note{kBody, {note_cosign(kBody, witness, 1700000000)}};
  EXPECT_EQ(verify_code(note, {witness.verifier()}), "accepted");
  note.signatures[0].bytes[7] ^= 1;
  EXPECT_EQ(verify_code(note, {witness.verifier()}), "note_signature_invalid");
  note.signatures[0].bytes[7] ^= 1;
  note.signatures[0].bytes[0] ^= 0x80;  // a time over 2^63-1
  EXPECT_EQ(verify_code(note, {witness.verifier()}), "note_signature_invalid");
  // The bytes of a cosignature are no plain signature of the same key, nor the other way.
  const auto plain =
      VerifierKey::make(witness.name(), NoteKeyType::kEd25519, witness.verifier().key());
  note = {kBody, {note_cosign(kBody, witness, 5)}};
  note.signatures[0].key_id = plain->id();
  EXPECT_EQ(verify_code(note, {*plain}), "note_signature_invalid");
}

TEST(Cosignature, TimesOver63BitsAreRefusedHoweverWellSigned) {
  const SignerKey witness = skey(kWitnessSecret);
  const Ed25519Signature signature =
      witness.sign(std::string("cosignature/v1\ntime 9223372036854775808\n") + kBody);
  NoteSignature line = note_cosign(kBody, witness, 0);
  line.bytes[0] = 0x80;
  std::copy(signature.begin(), signature.end(), line.bytes.begin() + 8);
  EXPECT_EQ(verify_code({kBody, {line}}, {witness.verifier()}), "note_signature_invalid");
}

TEST(Cosignature, OneKeyMaySignTwice) {
  const SignerKey witness = skey(kWitnessSecret);
  Note note{kBody, {note_cosign(kBody, witness, 10), note_cosign(kBody, witness, 20)}};
  const VerifierKey keys[] = {witness.verifier()};
  ASSERT_EQ(note_verify(note, keys)->size(), 2U);
  note.signatures[1].bytes.back() ^= 1;
  EXPECT_EQ(note_verify(note, keys).error().code, "note_signature_invalid");
}

TEST(SignatureLines, AsAWitnessAnswers) {
  const auto lines = parse_signature_lines(std::string(kWitnessLine) + kLogLine);
  ASSERT_TRUE(lines);
  ASSERT_EQ(lines->size(), 2U);
  EXPECT_EQ(signature_line((*lines)[0]), kWitnessLine);
  EXPECT_FALSE(parse_signature_lines(""));
  EXPECT_FALSE(parse_signature_lines("\n"));
  EXPECT_FALSE(parse_signature_lines(std::string(kWitnessLine) + "\n"));
}

// One bit anywhere in a signed note: refused, or (in a stranger's line) another note.
TEST(Note, NoFlippedBitIsAcceptedAsTheSameNote) {
  const std::string good = signed_checkpoint();
  const VerifierKey keys[] = {vkey(kLogVkey)};
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ 1 << bit % 8);
    const auto note = note_parse(bad);
    EXPECT_FALSE(note && note_verify(*note, keys)) << bit;
  }
}

RC_GTEST_PROP(Note, ReadsWhatItPrints, ()) {
  static const SignerKey key = new_key("prop.example", NoteKeyType::kEd25519);
  const auto body = *rc::gen::container<std::string>(rc::gen::elementOf(std::string("ab \n+=-~")));
  const std::string text = body + "\n";
  const Note note{text, {note_sign(text, key)}};
  const auto read = note_parse(note_print(note));
  RC_ASSERT(read.has_value());
  RC_ASSERT(read->text == text);
  RC_ASSERT(read->signatures == note.signatures);
  const VerifierKey keys[] = {key.verifier()};
  RC_ASSERT(note_verify(*read, keys).has_value());
}

}  // namespace
}  // namespace fieldprint
