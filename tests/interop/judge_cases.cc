// judge_cases FILE [COUNT]: writes mutated notes, checkpoints, proofs, tile paths and keys with
// our verdict on each, for tlogverify to judge again. Same seed, same cases, but for fresh keys.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "codec/base64.h"
#include "core/check.h"
#include "merkle/checkpoint.h"
#include "merkle/compact_range.h"
#include "merkle/proof.h"
#include "merkle/proof_builder.h"
#include "merkle/text.h"
#include "merkle/tile.h"

namespace fieldprint {
namespace {

constexpr int kDefaultCount = 4000;  // mutations of each kind
constexpr const char* kOrigin = "log.example/judge";

class Random {
 public:
  std::uint64_t below(std::uint64_t n) { return engine_() % n; }
  template <typename T>
  const T& of(const std::vector<T>& items) {
    return items[below(items.size())];
  }

 private:
  std::mt19937_64 engine_{5};
};

// Pieces that parsers trip over.
const std::vector<std::string> kPieces = {"\n",
                                          "\n\n",
                                          " ",
                                          "0",
                                          "00",
                                          "-1",
                                          "+",
                                          "=",
                                          "==",
                                          "A",
                                          "/",
                                          "\xE2\x80\x94 ",
                                          "\xE2\x80\x94",
                                          "\x7F",
                                          "\t",
                                          "\r",
                                          "\xC2\xA0",
                                          "\xFF",
                                          "x",
                                          "x000/",
                                          "000",
                                          ".p/",
                                          ".p/255",
                                          ".p/256",
                                          "tile/",
                                          "entries/",
                                          "data/",
                                          "9223372036854775808",
                                          "18446744073709551616",
                                          ","};

std::string mutate(std::string text, Random& random) {
  for (std::uint64_t rounds = 1 + random.below(2); rounds > 0; --rounds) {
    const std::size_t at = random.below(text.size() + 1);
    const std::size_t length = std::min<std::size_t>(1 + random.below(8), text.size() - at);
    switch (random.below(6)) {
      case 0:
        if (at < text.size()) text[at] = static_cast<char>(text[at] ^ 1 << random.below(8));
        break;
      case 1:
        text.erase(at, length);
        break;
      case 2:
        text.insert(at, random.of(kPieces));
        break;
      case 3:
        text.insert(at, text.substr(at, length));
        break;
      case 4:
        if (at < text.size()) text[at] = random.of(kPieces)[0];
        break;
      case 5: {  // a line twice, or a line less
        const std::size_t begin = text.rfind('\n', at == 0 ? 0 : at - 1);
        const std::size_t end = text.find('\n', at);
        if (begin == std::string::npos || end == std::string::npos || end <= begin) break;
        const std::string line = text.substr(begin, end - begin);
        random.below(2) == 0 ? (void)text.insert(end, line) : (void)text.erase(begin, line.size());
        break;
      }
      default:
        break;
    }
  }
  return text;
}

class CaseFile {
 public:
  explicit CaseFile(const char* path) : out_(path, std::ios::binary) {}
  ~CaseFile() { FP_CHECK(out_.flush().good()); }
  void key(const char* kind, const SignerKey& key) {
    out_ << "key " << kind << " " << key.verifier().print() << "\n";
  }
  void add(const char* kind, bool good, const std::string& input) {
    out_ << kind << " " << (good ? "good " : "bad ") << base64_encode(input) << "\n";
  }

 private:
  std::ofstream out_;
};

SignerKey make_key(const char* name, NoteKeyType type) {
  auto key = SignerKey::generate(name, type);
  FP_CHECK(key.has_value());
  return std::move(*key);
}

void notes(CaseFile& file, Random& random, int count) {
  const SignerKey log = make_key(kOrigin, NoteKeyType::kEd25519);
  const SignerKey witness = make_key("witness.example/judge", NoteKeyType::kCosignature);
  const SignerKey stranger = make_key(kOrigin, NoteKeyType::kEd25519);
  const std::array<VerifierKey, 2> keys = {log.verifier(), witness.verifier()};
  file.key("log", log);
  file.key("witness", witness);
  std::vector<std::string> seeds;
  for (const std::uint64_t size : {0ULL, 1ULL, 77ULL, 9223372036854775807ULL}) {
    const Digest256 root = size == 0 ? empty_root() : leaf_hash("root");
    for (const std::vector<std::string>& extra : {std::vector<std::string>{}, {"extension"}}) {
      const std::string body = checkpoint_print({kOrigin, size, root, extra});
      const NoteSignature a = note_sign(body, log), b = note_cosign(body, witness, 1700000000);
      const NoteSignature c = note_sign(body, stranger);
      for (const std::vector<NoteSignature>& signatures :
           {std::vector{a}, {b}, {a, b}, {c, a}, {a, c, b}, {c}, {a, a}}) {
        seeds.push_back(note_print({body, signatures}));
      }
    }
  }
  const std::string text = "a note\n\nof \xC3\xA4ny text\n";
  seeds.push_back(note_print({text, {note_sign(text, log)}}));
  // A body that was changed before it was signed: the signature holds, the checkpoint may not.
  for (int i = 0; i < count; ++i) {
    const std::string body = mutate(checkpoint_print({kOrigin, 9, leaf_hash("root"), {}}), random);
    if (check_note_text(body)) seeds.push_back(note_print({body, {note_sign(body, log)}}));
  }
  for (int i = -static_cast<int>(seeds.size()); i < count; ++i) {
    const std::string input = i < 0 ? seeds[seeds.size() - static_cast<std::size_t>(-i)]
                                    : mutate(random.of(seeds), random);
    const auto note = note_parse(input);
    const bool good = note && note_verify(*note, keys);
    file.add("note", good, input);
    file.add("checkpoint", good && checkpoint_parse(note->text), input);
  }
}

// The nodes of a small tree.
class Tree : public NodeReader {
 public:
  explicit Tree(std::uint64_t size) {
    CompactRange range;
    for (std::uint64_t i = 0; i < size; ++i) {
      leaves.push_back(leaf_hash(std::to_string(i)));
      range.append(leaves.back(), [this](NodeId id, const Digest256& hash) {
        nodes_.resize(std::max(nodes_.size(), static_cast<std::size_t>(id.level) + 1));
        nodes_[static_cast<std::size_t>(id.level)].push_back(hash);
      });
      roots.push_back(range.root());
    }
  }
  Result<std::vector<Digest256>> read_nodes(std::span<const NodeId> ids) override {
    std::vector<Digest256> out;
    for (const NodeId& id : ids)
      out.push_back(nodes_[static_cast<std::size_t>(id.level)][id.index]);
    return out;
  }
  std::vector<Digest256> leaves, roots;

 private:
  std::vector<std::vector<Digest256>> nodes_;
};

struct ProofCase {
  std::uint64_t size, number;
  Digest256 root, other;
  std::vector<Digest256> proof;

  std::string print() const {
    std::string text = std::to_string(size) + " " + std::to_string(number) + " " +
                       print_hash(root) + " " + print_hash(other) + " ";
    if (proof.empty()) text += "-";
    for (const Digest256& hash : proof) text += (&hash == &proof[0] ? "" : ",") + print_hash(hash);
    return text;
  }
};

void mutate_proof(ProofCase& c, Random& random) {
  Digest256* const hashes[] = {&c.root, &c.other};
  switch (random.below(7)) {
    case 0:
      (*hashes[random.below(2)])[random.below(32)] ^=
          static_cast<std::uint8_t>(1 << random.below(8));
      break;
    case 1:
      if (!c.proof.empty()) {
        c.proof[random.below(c.proof.size())][random.below(32)] ^=
            static_cast<std::uint8_t>(1 << random.below(8));
      }
      break;
    case 2:
      c.proof.insert(
          c.proof.begin() + static_cast<std::ptrdiff_t>(random.below(c.proof.size() + 1)),
          random.below(2) == 0 ? c.root : c.other);
      break;
    case 3:
      if (!c.proof.empty()) {
        c.proof.erase(c.proof.begin() + static_cast<std::ptrdiff_t>(random.below(c.proof.size())));
      }
      break;
    case 4:
      c.size = random.below(2) == 0 ? c.size + 1 : random.below(200);
      break;
    case 5:
      c.number = random.below(200);
      break;
    default:
      if (c.proof.size() > 1) std::swap(c.proof.front(), c.proof.back());
      break;
  }
}

void proofs(CaseFile& file, Random& random, int count) {
  Tree tree(130);
  for (int i = 0; i < 2 * count; ++i) {
    const std::uint64_t size = 1 + random.below(130), number = random.below(size);
    ProofCase leaf{size, number, tree.roots[size - 1], tree.leaves[number],
                   *make_inclusion_proof(number, size, tree)};
    ProofCase old{size, number + 1, tree.roots[size - 1], tree.roots[number],
                  *make_consistency_proof(number + 1, size, tree)};
    if (random.below(3) != 0) mutate_proof(leaf, random);
    if (random.below(3) != 0) mutate_proof(old, random);
    file.add("leaf",
             check_inclusion(leaf.number, leaf.size, leaf.other, leaf.proof, leaf.root).has_value(),
             leaf.print());
    // x/mod refuses trees of size 0, C2SP witnesses do not (docs/formats/tiles.md).
    if (old.number == 0 || old.size == 0) continue;
    file.add("tree",
             check_consistency(old.number, old.size, old.proof, old.other, old.root).has_value(),
             old.print());
  }
}

void tiles_and_keys(CaseFile& file, Random& random, int count) {
  const std::vector<std::uint64_t> indices = {0, 1, 999, 1000, 1234067, kMaxTreeSize};
  const std::string vkey = make_key(kOrigin, NoteKeyType::kEd25519).verifier().print();
  file.add("vkey", VerifierKey::parse(vkey).has_value(), vkey);
  for (int i = 0; i < 2 * count; ++i) {
    TileId tile{TileKind::kHashes, static_cast<int>(random.below(64)), random.of(indices), 256};
    if (random.below(2) == 0) tile.width = 1 + static_cast<int>(random.below(255));
    if (random.below(3) == 0) tile.kind = TileKind::kEntries;
    std::string path = tile_path(tile);
    if (i % 8 != 0) path = mutate(path, random);
    file.add("tile", parse_tile_path(path).has_value(), path);
    const std::string key = mutate(vkey, random);
    file.add("vkey", VerifierKey::parse(key).has_value(), key);
  }
}

}  // namespace
}  // namespace fieldprint

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("usage: judge_cases FILE [COUNT]\n", stderr);
    return 2;
  }
  const int count =
      argc > 2 ? static_cast<int>(std::strtol(argv[2], nullptr, 10)) : fieldprint::kDefaultCount;
  fieldprint::CaseFile file(argv[1]);
  fieldprint::Random random;
  fieldprint::notes(file, random, count);
  fieldprint::proofs(file, random, count);
  fieldprint::tiles_and_keys(file, random, count);
  return 0;
}
