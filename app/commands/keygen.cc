// keygen: one new key pair in two files.
#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "app/commands/commands.h"
#include "crypto/key_file.h"
#include "crypto/note_key.h"
#include "crypto/p256.h"

namespace fieldprint::app {
namespace {

struct Kind {
  const char* name;
  std::optional<NoteKeyType> type;  // none: P-256
};
constexpr std::array<Kind, 5> kKinds = {{{"log", NoteKeyType::kEd25519},
                                         {"authority", NoteKeyType::kEd25519},
                                         {"witness", NoteKeyType::kCosignature},
                                         {"cosigner", NoteKeyType::kCosignature},
                                         {"anchor", std::nullopt}}};

struct KeyPair {
  SecretBytes secret;       // text of the secret file
  std::string public_text;  // of the public file
};

Result<Kind> kind_of(const std::vector<std::string>& positionals) {
  for (const Kind& kind : kKinds) {
    if (!positionals.empty() && positionals[0] == kind.name) return kind;
  }
  return fail(ErrorKind::kInvalid, positionals.empty() ? "missing_argument" : "key_kind",
              "a key is of kind log, authority, witness, cosigner or anchor", "kind");
}

Result<KeyPair> make_pair(const Kind& kind, const std::string& name) {
  if (!kind.type) {
    const P256SecretKey key = P256SecretKey::generate();
    return KeyPair{key.pem(), key.public_key().pem()};
  }
  FP_ASSIGN(const SignerKey key, SignerKey::generate(name, *kind.type));
  return KeyPair{key.print(), key.verifier().print() + "\n"};
}

Status check_names(const Kind& kind, const std::string& name, const std::string& out) {
  if (out.empty())
    return fail(ErrorKind::kInvalid, "missing_argument",
                "-o FILE says where the secret key goes; the public one goes beside it as .pub",
                "out");
  if (std::filesystem::path(out).extension() == ".pub")
    return fail(ErrorKind::kInvalid, "option_value",
                "--out names the secret key's file; .pub is for the public one", "out");
  if (kind.type && name.empty())
    return fail(ErrorKind::kInvalid, "missing_argument",
                fmt::format("--name names the key of a {}, best like a URL without scheme: "
                            "example.com/{}",
                            kind.name, kind.name),
                "name");
  if (!kind.type && !name.empty())
    return fail(ErrorKind::kInvalid, "option_conflict",
                "an anchor key is a plain PEM file and has no name; leave --name away", "name");
  return {};
}

// Both files or none.
Status write_pair(const KeyPair& pair, const std::string& out, const std::string& public_file) {
  std::error_code error;
  if (std::filesystem::exists(public_file, error))
    return fail(
        ErrorKind::kInvalid, "key_file_exists",
        "key file " + public_file + " exists and is never overwritten; choose another name");
  FP_TRY(write_secret_key_file(out, pair.secret.view()));
  Status status = write_public_key_file(public_file, pair.public_text);
  if (!status) std::filesystem::remove(out, error);  // seconds old, and nobody has its other half
  return status;
}

}  // namespace

Result<int> cmd_keygen(const CommandInput& input) {
  const Settings& settings = input.settings;
  const std::string& out = settings.text("out");
  const std::string& name = settings.text("name");
  FP_ASSIGN(const Kind kind, kind_of(input.positionals));
  FP_TRY(check_names(kind, name, out));
  FP_ASSIGN(const KeyPair pair, make_pair(kind, name));
  const std::string public_file = std::filesystem::path(out).replace_extension(".pub").string();
  FP_TRY(write_pair(pair, out, public_file));
  if (settings.flag("json")) {
    const nlohmann::ordered_json json = {{"kind", kind.name},
                                         {"name", name},
                                         {"secret_file", out},
                                         {"public_file", public_file},
                                         {"public_key", pair.public_text}};
    fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    return 0;
  }
  fmt::print("{}", pair.public_text);
  std::fflush(stdout);
  fmt::print(stderr, "secret key  {} (mode 0600: keep it to yourself, and a copy offline)\n", out);
  fmt::print(stderr, "public key  {} (the text above: give it to whoever must check)\n",
             public_file);
  return 0;
}

}  // namespace fieldprint::app
