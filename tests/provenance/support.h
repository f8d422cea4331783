// What the trust tests share: keys, roots, statements, and a log that lives in memory and can
// be made to lie.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "codec/base64.h"
#include "codec/canonical_json.h"
#include "crypto/dsse.h"
#include "ledger/checkpoint_file.h"
#include "ledger/entry.h"
#include "merkle/compact_range.h"
#include "merkle/entry_bundle.h"
#include "merkle/tile.h"
#include "provenance/authority.h"
#include "provenance/authority_log.h"
#include "provenance/trust_root.h"

namespace fieldprint::test {

template <typename T>
T need(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().code << ": " << result.error().message;
    std::abort();
  }
  return std::move(*result);
}

template <typename T>
std::string code(const Result<T>& result) {
  return result ? "ok" : result.error().code;
}

// The same key for the same name, so that texts can be compared between runs.
inline SignerKey fixed_key(const std::string& name, NoteKeyType type = NoteKeyType::kEd25519) {
  const Digest256 seed = sha256("fieldprint test key " + name);
  const auto secret = need(Ed25519SecretKey::from_seed(seed));
  const auto verifier = need(VerifierKey::make(name, type, secret.public_key()));
  std::vector<std::uint8_t> typed{static_cast<std::uint8_t>(type)};
  typed.insert(typed.end(), seed.begin(), seed.end());
  char id[9];
  std::snprintf(id, sizeof id, "%08x", verifier.id());
  return need(SignerKey::parse("PRIVATE+KEY+" + name + "+" + id + "+" +
                               base64_encode(std::span<const std::uint8_t>(typed))));
}

inline std::string fake_digest(const std::string& of) { return digest_string(sha256(of)); }

// Three authorities; two of them promote, revoke and change the root, all three override.
struct World {
  SignerKey ada = fixed_key("ada");
  SignerKey bob = fixed_key("bob");
  SignerKey eve = fixed_key("eve");
  SignerKey stranger = fixed_key("stranger");
  SignerKey log = fixed_key("log.example/one");
  SignerKey cosigner = fixed_key("log.example/one", NoteKeyType::kCosignature);
  P256SecretKey anchor_key = P256SecretKey::generate();
  std::int64_t now = 1'800'000'000;
  Place place{"acme", fake_digest("model")};

  std::string policy() const {
    return "log " + log.verifier().print() + "\nwitness operator " + cosigner.verifier().print() +
           "\nquorum operator\n";
  }
  TrustRoot root() const {
    TrustRoot root;
    root.issued_at = now;
    root.policy = policy();
    root.checkpoint_max_age = 3600;
    root.authorities = {ada.verifier(), bob.verifier(), eve.verifier()};
    const std::vector<std::string> names{"ada", "bob", "eve"};
    for (const AuthorityRole role : kAuthorityRoles) root.role(role) = {names, 2};
    root.role(AuthorityRole::kOverride).threshold = 3;
    root.anchor_keys = {{"anchor", anchor_key.public_key().pem()}};
    return root;
  }
  SignedRoot signed_root() const { return sign(root(), {&ada, &bob}); }
  static SignedRoot sign(const TrustRoot& root, const std::vector<const SignerKey*>& keys) {
    return need(open_root(need(sign_root(root, keys))));
  }

  Statement promotion(const std::string& anchor_digest, std::int64_t sequence = 1,
                      const std::string& previous = "") const {
    Statement s;
    s.type = StatementType::kPromotion;
    s.subject_name = "keeper";
    s.subject_digest = anchor_digest;
    s.scope = {place.tenant, place.model_digest};
    s.issued_at = now;
    s.evidence = {fake_digest("evaluation")};
    s.reason = "passed review";
    s.window = {now - 60, now + 86400};
    s.sequence = sequence;
    s.previous = previous;
    return s;
  }
  Statement revocation(const std::string& digest, std::int64_t sequence = 1,
                       const std::string& previous = "") const {
    Statement s = promotion(digest, sequence, previous);
    s.type = StatementType::kRevocation;
    s.reason = "withdrawn";
    s.window = {};
    return s;
  }
  Statement override_of(const std::string& digest, char nonce = 'a') const {
    Statement s = promotion(digest, 0);
    s.type = StatementType::kOverride;
    s.nonce = std::string(32, nonce);
    s.request = {"session-7", fake_digest("request")};
    return s;
  }
  std::string envelope(const Statement& s, const std::vector<const SignerKey*>& keys) const {
    return need(sign_statement(s, keys));
  }
  std::string envelope(const Statement& s) const { return envelope(s, {&ada, &bob}); }
};

inline std::string digest_of_envelope(const std::string& envelope) {
  return statement_digest(need(dsse_parse(envelope)).untrusted_payload);
}

// A log in memory. Tests may change any of its parts behind the readers' backs.
class MemoryLog : public LogSource, public TileSource {
 public:
  explicit MemoryLog(const World& world) : world_(world) { add_other("genesis"); }

  std::uint64_t add(EntryKind kind, const std::string& subject, CanonicalValue::Object body) {
    Entry entry{kind, subject, 1, std::move(body)};
    leaves.push_back(need(print_entry(entry)));
    return leaves.size() - 1;
  }
  std::uint64_t add_envelope(EntryKind kind, const std::string& envelope) {
    return add(kind, fake_digest("subject"), {{"envelope", envelope}});
  }
  std::uint64_t add_root(const std::string& envelope, std::int64_t version) {
    return add(EntryKind::kTrustRoot, fake_digest("root"),
               {{"envelope", envelope}, {"version", version}});
  }
  std::uint64_t add_override(const std::string& envelope, const char* event) {
    return add(EntryKind::kOverride, fake_digest("subject"),
               {{"envelope", envelope},
                {"statement_digest", digest_of_envelope(envelope)},
                {"event", event}});
  }
  std::uint64_t add_other(const std::string& id) {
    return add(EntryKind::kReceipt, id, {{"receipt_digest", fake_digest(id)}});
  }
  void sign_at(std::int64_t time) {
    CompactRange range;
    for (const std::string& leaf : leaves) range.append(leaf_hash(leaf));
    checkpoint_text = sign_checkpoint("log.example/one", leaves.size(), range.root(), world_.log,
                                      world_.cosigner, time, {})
                          .text;
  }

  Result<std::vector<std::string>> checkpoints() override {
    return std::vector<std::string>{checkpoint_text};
  }
  TileSource& tiles() override { return *this; }
  Result<std::string> read_tile(const TileId& id) override {
    std::string bytes;
    const std::uint64_t stride = std::uint64_t{1} << (kTileHeight * id.level);
    for (int i = 0; i < id.width; ++i) {
      const std::uint64_t at = (id.index * kTileWidth + static_cast<std::uint64_t>(i)) * stride;
      if (at + stride > leaves.size()) {
        return fail(ErrorKind::kNotFound, "ledger_tile_missing", "no such tile");
      }
      if (id.kind == TileKind::kEntries) {
        EXPECT_TRUE(append_entry(bytes, leaves[at]));
        continue;
      }
      CompactRange range;
      for (std::uint64_t leaf = at; leaf < at + stride; ++leaf) {
        range.append(leaf_hash(leaves[leaf]));
      }
      const Digest256 root = range.root();
      bytes.append(root.begin(), root.end());
    }
    return bytes;
  }

  std::vector<std::string> leaves;
  std::string checkpoint_text;

 private:
  const World& world_;
};

// Readers own their source; this one only passes on.
class SharedSource : public LogSource {
 public:
  explicit SharedSource(std::shared_ptr<MemoryLog> log) : log_(std::move(log)) {}
  Result<std::vector<std::string>> checkpoints() override { return log_->checkpoints(); }
  TileSource& tiles() override { return log_->tiles(); }

 private:
  std::shared_ptr<MemoryLog> log_;
};

}  // namespace fieldprint::test
