// emit_log DIR: writes a log of 70,000 leaves "leaf 0", "leaf 1", ... as a folder of C2SP tiles
// with a checkpoint for many sizes on the way, and DIR/proofs.txt with all roots and many
// proofs, for tlogverify to judge. Keys go to DIR/log.vkey and DIR/witness.vkey.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/check.h"
#include "merkle/checkpoint.h"
#include "merkle/compact_range.h"
#include "merkle/entry_bundle.h"
#include "merkle/proof_builder.h"
#include "merkle/text.h"
#include "merkle/tile.h"
#include "merkle/tile_reader.h"

namespace fieldprint {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kSize = 70000;
constexpr std::uint64_t kTime = 1700000000;
constexpr const char* kOrigin = "log.example/interop";
// Every proof up to here, and this many beyond.
constexpr std::uint64_t kAllProofs = 40;
constexpr int kRandomProofs = 3000;

std::string entry(std::uint64_t index) { return "leaf " + std::to_string(index); }

void write_file(const fs::path& path, const std::string& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary);
  out << bytes;
  FP_CHECK(out.flush().good());
}

SignerKey make_key(const char* name, NoteKeyType type) {
  auto key = SignerKey::generate(name, type);
  FP_CHECK(key.has_value());
  return std::move(*key);
}

class Log : public TileSource {
 public:
  explicit Log(fs::path dir)
      : dir_(std::move(dir)),
        log_(make_key(kOrigin, NoteKeyType::kEd25519)),
        witness_(make_key("witness.example/interop", NoteKeyType::kCosignature)) {
    write_file(dir_ / "log.vkey", log_.verifier().print());
    write_file(dir_ / "witness.vkey", witness_.verifier().print());
  }

  void append() {
    range_.append(leaf_hash(entry(range_.size())), [this](NodeId id, const Digest256& hash) {
      if (id.level % kTileHeight == 0) levels_[id.level / kTileHeight].push_back(hash);
    });
    roots_.push_back(range_.root());
  }

  // Tiles, bundles and a checkpoint for the size reached.
  void publish() {
    for (const TileId& tile : grown_tiles(published_, range_.size())) {
      write_file(dir_ / tile_path(tile), *read_tile(tile));
      if (tile.level == 0) write_bundle(tile);
    }
    published_ = range_.size();
    const std::string body = checkpoint_print({kOrigin, published_, range_.root(), {}});
    const std::string signed_body = note_print(
        {body, {note_sign(body, log_), note_cosign(body, witness_, kTime + published_)}});
    write_file(dir_ / "checkpoints" / std::to_string(published_), signed_body);
    write_file(dir_ / "checkpoint", signed_body);
  }

  Result<std::string> read_tile(const TileId& tile) override {
    std::string bytes;
    const std::vector<Digest256>& level = levels_[tile.level];
    for (int i = 0; i < tile.width; ++i) {
      const Digest256& hash = level[tile.index * kTileWidth + static_cast<std::size_t>(i)];
      bytes.append(hash.begin(), hash.end());
    }
    return bytes;
  }

  const Digest256& root(std::uint64_t size) const { return roots_[size - 1]; }

 private:
  void write_bundle(TileId tile) {
    tile.kind = TileKind::kEntries;
    std::string bytes;
    for (int i = 0; i < tile.width; ++i) {
      FP_CHECK(append_entry(bytes, entry(tile.index * kTileWidth + static_cast<std::size_t>(i)))
                   .has_value());
    }
    write_file(dir_ / tile_path(tile), bytes);
  }

  fs::path dir_;
  SignerKey log_, witness_;
  CompactRange range_;
  std::uint64_t published_ = 0;
  std::map<int, std::vector<Digest256>> levels_;
  std::vector<Digest256> roots_;
};

std::string joined(const std::vector<Digest256>& hashes) {
  std::string text;
  for (const Digest256& hash : hashes) text += (text.empty() ? "" : ",") + print_hash(hash);
  return text.empty() ? "-" : text;
}

class ProofFile {
 public:
  ProofFile(Log& log, const fs::path& path) : log_(log), out_(path) {}
  ~ProofFile() { FP_CHECK(out_.flush().good()); }

  void roots() {
    for (std::uint64_t n = 1; n <= kSize; ++n) {
      out_ << "root " << n << " " << print_hash(log_.root(n)) << "\n";
    }
  }
  void proofs(std::uint64_t size, std::uint64_t number) {
    TileNodeReader reader(log_, size, 16);
    const auto leaf = make_inclusion_proof(number, size, reader);
    const auto tree = make_consistency_proof(number + 1, size, reader);
    FP_CHECK(leaf.has_value() && tree.has_value());
    out_ << "leaf " << size << " " << number << " " << joined(*leaf) << "\n";
    out_ << "tree " << size << " " << number + 1 << " " << joined(*tree) << "\n";
  }

 private:
  Log& log_;
  std::ofstream out_;
};

void emit(const fs::path& dir) {
  // Around every border of a tile, and where a level begins.
  std::set<std::uint64_t> sizes = {255,   256,   257,   511,   512,   513,   1000, 4096,
                                   65280, 65535, 65536, 65537, 65792, 69999, kSize};
  for (std::uint64_t n = 1; n <= 20; ++n) sizes.insert(n);
  Log log(dir);
  for (std::uint64_t n = 1; n <= kSize; ++n) {
    log.append();
    if (sizes.contains(n)) log.publish();
  }
  ProofFile file(log, dir / "proofs.txt");
  file.roots();
  for (std::uint64_t size = 1; size <= kAllProofs; ++size) {
    for (std::uint64_t number = 0; number < size; ++number) file.proofs(size, number);
  }
  std::mt19937_64 random(20261124);
  for (int i = 0; i < kRandomProofs; ++i) {
    const std::uint64_t size = random() % kSize + 1;
    file.proofs(size, random() % size);
  }
}

}  // namespace
}  // namespace fieldprint

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: emit_log DIR\n", stderr);
    return 2;
  }
  fieldprint::emit(argv[1]);
  return 0;
}
