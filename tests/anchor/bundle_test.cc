// model.sig: what is signed, what is refused. The public tool's opinion: oms_interop.py.
#include "anchor/bundle.h"

#include <sys/stat.h>

#include "anchor/signed.h"
#include "codec/base64.h"
#include "crypto/dsse.h"
#include "crypto/sha256.h"
#include "support.h"

// After gtest, which it needs.
#include <rapidcheck/gtest.h>

namespace fieldprint {
namespace {

namespace fs = std::filesystem;
using test::code_of;
using test::must;
using test::read_file;
using test::write_file;

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

Manifest small_manifest() {
  return {"keeper",
          {{"text", "sha256:" + std::string(64, '2')},
           {"anchor.json", "sha256:" + std::string(64, '1')}}};
}

// A bundle of any payload, signed well.
std::string bundle_of(const std::string& payload, const P256SecretKey& key,
                      const std::string& type = std::string(kInTotoPayloadType)) {
  const std::vector<std::uint8_t> signature = key.sign(dsse_pae(type, payload));
  return R"({"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",)"
         R"("verificationMaterial":{"publicKey":{"hint":null},"tlogEntries":[]},)"
         R"("dsseEnvelope":{"payload":")" +
         base64_encode(payload) + R"(","payloadType":")" + type + R"(","signatures":[{"sig":")" +
         base64_encode(std::span<const std::uint8_t>(signature)) + R"(","keyid":null}]}})";
}

TEST(Manifest, PrintsTheDocumentedBytesInNameOrder) {
  const std::string text = must(print_manifest(small_manifest()));
  EXPECT_EQ(text,
            R"({"_type":"https://in-toto.io/Statement/v1","predicate":{"resources":[)"
            R"({"algorithm":"sha256","digest":")" +
                std::string(64, '1') +
                R"(","name":"anchor.json"},{"algorithm":"sha256","digest":")" +
                std::string(64, '2') +
                R"(","name":"text"}],"serialization":{"allow_symlinks":false,)"
                R"("hash_type":"sha256","ignore_paths":["model.sig"],"method":"files"}},)"
                R"("predicateType":"https://model_signing/signature/v1.0","subject":[)"
                R"({"digest":{"sha256":")" +
                // SHA-256 of 32 bytes 0x11 and 32 bytes 0x22.
                digest_string(sha256(std::string(32, '\x11') + std::string(32, '\x22'))).substr(7) +
                R"("},"name":"keeper"}]})");
  const Manifest again = must(parse_manifest(text));
  EXPECT_EQ(again.name, "keeper");
  ASSERT_EQ(again.files.size(), 2U);
  EXPECT_EQ(again.files[0].name, "anchor.json");
}

TEST(Manifest, PathsThatLeaveTheFolderAreRefused) {
  const std::string good = must(print_manifest(small_manifest()));
  for (const char* path : {"../text", "/etc/passwd", "a/../../text", "./text", "a//b", "a/", "..",
                           ".", "", "a\\\\b", "a\\u0000b", "a\\nb"}) {
    const std::string text =
        replaced(good, R"("name":"text")", R"("name":")" + std::string(path) + '"');
    EXPECT_EQ(code_of(parse_manifest(text)), "manifest_path_unsafe") << path;
  }
  Manifest manifest = small_manifest();
  manifest.files[0].name = "../text";
  EXPECT_EQ(code_of(print_manifest(manifest)), "manifest_path_unsafe");
}

TEST(Manifest, OtherTypesAndWaysToSerialiseAreNamed) {
  const std::string good = must(print_manifest(small_manifest()));
  const auto with = [&](const char* from, const char* to) {
    return code_of(parse_manifest(replaced(good, from, to)));
  };
  EXPECT_EQ(with("signature/v1.0", "signature/v9.0"), "manifest_type_unknown");
  EXPECT_EQ(with("Statement/v1", "Statement/v0.1"), "manifest_type_unknown");
  EXPECT_EQ(with(R"("method":"files")", R"("method":"shards")"), "manifest_type_unknown");
  EXPECT_EQ(with(R"("hash_type":"sha256")", R"("hash_type":"blake3")"), "manifest_type_unknown");
  EXPECT_EQ(with(R"("algorithm":"sha256")", R"("algorithm":"blake2b")"), "manifest_type_unknown");
  EXPECT_EQ(with(std::string(64, '2').c_str(), std::string(64, '3').c_str()), "manifest_corrupt");
  EXPECT_EQ(with(R"("name":"text")", R"("name":"anchor.json")"), "manifest_corrupt") << "twice";
  EXPECT_EQ(with(R"("resources":[)", R"("resources":[7,)"), "manifest_corrupt");
  EXPECT_EQ(with(R"("method":"files")", R"("method":"files","later":[null,1.5e3])"), "ok")
      << "fields that are not known are ignored, as OMS asks";
  EXPECT_EQ(code_of(parse_manifest(std::string(kManifestMaxBytes + 1, ' '))), "manifest_too_large");
  EXPECT_EQ(code_of(parse_manifest(std::string(100, '['))), "manifest_too_large");
}

TEST(Bundle, SignsAndVerifies) {
  const P256SecretKey key = P256SecretKey::generate();
  const P256SecretKey other = P256SecretKey::generate();
  const std::string text = must(sign_bundle(small_manifest(), key));
  const std::vector<AnchorKey> keys{{"other", other.public_key().pem()},
                                    {"ours", key.public_key().pem()}};
  EXPECT_EQ(must(verify_bundle(text, keys)).key_name, "ours");
  EXPECT_EQ(code_of(verify_bundle(text, std::span(keys).first(1))), "anchor_key_unknown");
  EXPECT_EQ(code_of(verify_bundle(text, {})), "anchor_key_unknown");
  // The hint is no input to the decision: without it every key is tried.
  const std::string bare = bundle_of(must(print_manifest(small_manifest())), key);
  EXPECT_EQ(must(verify_bundle(bare, keys)).key_name, "ours");
  EXPECT_EQ(code_of(verify_bundle(bare, std::span(keys).first(1))), "anchor_signature_invalid");
}

TEST(Bundle, NothingUnsignedIsRead) {
  const P256SecretKey key = P256SecretKey::generate();
  const std::vector<AnchorKey> keys{{"ours", key.public_key().pem()}};
  const std::string payload = must(print_manifest(small_manifest()));
  const std::string good = bundle_of(payload, key);
  ASSERT_EQ(code_of(verify_bundle(good, keys)), "ok");
  const auto with = [&](const std::string& from, const std::string& to) {
    return code_of(verify_bundle(replaced(good, from, to), keys));
  };
  EXPECT_EQ(with(base64_encode(payload), base64_encode(payload + " ")), "anchor_signature_invalid");
  EXPECT_EQ(with("bundle.v0.3", "bundle.v0.1"), "bundle_type");
  EXPECT_EQ(with("publicKey", "certificate"), "bundle_type");
  EXPECT_EQ(with("dsseEnvelope", "messageSignature"), "bundle_type");
  EXPECT_EQ(with(R"("payloadType":"application/vnd.in-toto+json")", R"("payloadType":"x")"),
            "bundle_type");
  EXPECT_EQ(with(R"("signatures":[)", R"("signatures":[{},)"), "bundle_corrupt");
  EXPECT_EQ(with(R"("keyid":null}])", R"("keyid":null},{"sig":"AAAA"}])"), "bundle_corrupt")
      << "a second signature behind a good one";
  EXPECT_EQ(with(R"("sig":")", R"("sig":"!)"), "bundle_corrupt");
  EXPECT_EQ(code_of(verify_bundle(bundle_of("{}", key), keys)), "manifest_type_unknown");
  EXPECT_EQ(code_of(verify_bundle(bundle_of(payload, key, "text/plain"), keys)), "bundle_type");
  EXPECT_EQ(code_of(parse_bundle(std::string(kBundleMaxBytes + 1, ' '))), "bundle_too_large");
  EXPECT_EQ(code_of(parse_bundle(std::string(100, '['))), "bundle_too_large");
  EXPECT_EQ(code_of(parse_bundle("")), "bundle_corrupt");
}

RC_GTEST_PROP(Bundle, EveryChangedByteIsRefusedOrChangesNothingSigned, ()) {
  static const P256SecretKey key = P256SecretKey::generate();
  static const std::vector<AnchorKey> keys{{"ours", key.public_key().pem()}};
  static const std::string good = must(sign_bundle(small_manifest(), key));
  std::string text = good;
  const std::size_t at = *rc::gen::inRange(std::size_t{0}, text.size());
  text[at] = static_cast<char>(*rc::gen::inRange(0, 256));
  const auto verified = verify_bundle(text, keys);
  if (verified)
    RC_ASSERT(must(print_manifest(verified->manifest)) == must(print_manifest(small_manifest())));
}

class SignedFolder : public test::FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    folder_ = root_ / "tiny";
    AnchorArtifact anchor = test::tiny_anchor();
    ASSERT_TRUE(save_anchor(anchor, folder_.string()));
  }
  std::string load() const { return code_of(load_signed_anchor(folder_.string(), keys_)); }
  void sign() { ASSERT_TRUE(sign_anchor_folder(folder_.string(), key_)); }

  P256SecretKey key_ = P256SecretKey::generate();
  std::vector<AnchorKey> keys_{{"ours", key_.public_key().pem()}};
  fs::path folder_;
};

TEST_F(SignedFolder, LoadsWhatWasSigned) {
  EXPECT_EQ(load(), "anchor_unsigned");
  sign();
  const SignedAnchor loaded = must(load_signed_anchor(folder_.string(), keys_));
  EXPECT_EQ(loaded.artifact.text, "I am Ada.\n");
  EXPECT_EQ(loaded.key_name, "ours");
  EXPECT_EQ(loaded.bundle_digest, digest_string(sha256(read_file(folder_ / "model.sig"))));
  write_file(folder_ / "model.sig.tmp", "of an interrupted call");
  sign();  // again, over the old signature and the leftover
  EXPECT_EQ(load(), "ok");
}

TEST_F(SignedFolder, FlippedBitsAreNoticedInEveryFile) {
  sign();
  struct Case {
    const char* file;
    std::size_t at;
    const char* code;
  };
  const Case cases[] = {{"rows.safetensors", 271, "anchor_digest_mismatch"},
                        {"text", 2, "anchor_digest_mismatch"},
                        {"anchor.json", 300, ""},
                        {"model.sig", 300, ""}};
  for (const Case& c : cases) {
    const std::string good = read_file(folder_ / c.file);
    std::string bad = good;
    bad[c.at] = static_cast<char>(bad[c.at] ^ 1);
    write_file(folder_ / c.file, bad);
    if (*c.code != 0) {
      EXPECT_EQ(load(), c.code) << c.file;
    } else {
      EXPECT_NE(load(), "ok") << c.file;
    }
    write_file(folder_ / c.file, good);
  }
  EXPECT_EQ(load(), "ok");
}

TEST_F(SignedFolder, AnotherAnchorUnderTheOldSignatureIsRefused) {
  sign();
  const std::string signature = read_file(folder_ / "model.sig");
  fs::remove_all(folder_);
  AnchorArtifact other = test::tiny_anchor();
  other.text = "I am Eve.\n";
  ASSERT_TRUE(save_anchor(other, folder_.string()));
  write_file(folder_ / "model.sig", signature);
  EXPECT_EQ(load(), "anchor_manifest_mismatch");
}

TEST_F(SignedFolder, SignatureMustCoverExactlyTheAnchor) {
  const LoadedAnchor anchor = must(load_anchor_files(folder_.string()));
  Manifest manifest{"tiny",
                    {{"anchor.json", anchor.artifact.digest},
                     {"rows.safetensors", anchor.rows.digest},
                     {"text", anchor.text.digest}}};
  const auto with = [&](const Manifest& listed) {
    write_file(folder_ / "model.sig", must(sign_bundle(listed, key_)));
    return load();
  };
  EXPECT_EQ(with(manifest), "ok");
  Manifest less = manifest;
  less.files.erase(less.files.begin() + 1);
  EXPECT_EQ(with(less), "anchor_manifest_mismatch") << "rows not covered";
  Manifest more = manifest;
  more.files.push_back({"sub/notes", anchor.text.digest});
  EXPECT_EQ(with(more), "anchor_manifest_mismatch") << "a file that is not there";
}

TEST_F(SignedFolder, UnexpectedFilesLinksAndFoldersAreRefused) {
  sign();
  write_file(folder_ / "notes.txt", "x");
  EXPECT_EQ(load(), "anchor_unexpected_file");
  EXPECT_EQ(code_of(sign_anchor_folder(folder_.string(), key_)), "anchor_unexpected_file");
  fs::remove(folder_ / "notes.txt");
  fs::create_directory(folder_ / ".git");
  EXPECT_EQ(load(), "anchor_unexpected_file");
  fs::remove(folder_ / ".git");
  for (const char* file : {"anchor.json", "text", "rows.safetensors", "model.sig"}) {
    const fs::path outside = root_ / "outside";
    fs::rename(folder_ / file, outside);
    fs::create_symlink(outside, folder_ / file);
    EXPECT_EQ(load(), "anchor_symlink") << file;
    EXPECT_NE(code_of(load_anchor(folder_.string())), std::string(file) == "model.sig" ? "" : "ok");
    fs::remove(folder_ / file);
    EXPECT_NE(load(), "ok") << file;
    fs::rename(outside, folder_ / file);
  }
  EXPECT_EQ(load(), "ok");
  fs::remove(folder_ / "model.sig");
  ASSERT_EQ(::mkfifo((folder_ / "model.sig").c_str(), 0600), 0);
  EXPECT_EQ(load(), "anchor_corrupt") << "a pipe must not hang";
  fs::remove(folder_ / "model.sig");
  write_file(folder_ / "model.sig", std::string(kBundleMaxBytes + 1, ' '));
  EXPECT_EQ(load(), "bundle_too_large");
}

}  // namespace
}  // namespace fieldprint
