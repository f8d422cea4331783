// ledger init, show, prove, export: the everyday commands. Checking is in ledger_check.cc.
#include "ledger/ledger.h"

#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "app/commands/commands.h"
#include "app/support/format.h"
#include "app/support/ledger_folder.h"
#include "app/support/paths.h"
#include "codec/base64.h"
#include "codec/hex.h"
#include "ledger/ledger_export.h"
#include "merkle/entry_bundle.h"
#include "merkle/tlog_proof.h"

namespace fieldprint::app {
namespace {

using Json = nlohmann::ordered_json;

void print_json(const Json& json) {
  fmt::print("{}\n", json.dump(-1, ' ', false, Json::error_handler_t::replace));
}

std::string positional(const CommandInput& input, std::size_t at) {
  return at < input.positionals.size() ? input.positionals[at] : std::string();
}

Result<std::uint64_t> parse_index(const std::string& text) {
  std::uint64_t index = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (error != std::errc() || end != text.data() + text.size())
    return fail(ErrorKind::kInvalid, "option_value",
                "'" + text.substr(0, 40) + "' is no index of an entry", "index");
  return index;
}

struct ShownEntry {
  std::uint64_t index = 0;
  std::string leaf;
  Entry entry;
};

Result<ShownEntry> shown_entry(LedgerReader& reader, std::uint64_t index, std::uint64_t size) {
  ShownEntry shown;
  shown.index = index;
  FP_ASSIGN(shown.leaf, reader.leaf(index, size));
  FP_ASSIGN(shown.entry, parse_entry(shown.leaf));
  return shown;
}

// Newest first, of one kind if one is asked for.
Result<std::vector<ShownEntry>> newest(LedgerReader& reader, std::uint64_t size,
                                       const std::optional<EntryKind>& kind, std::size_t limit) {
  std::vector<ShownEntry> found;
  for (std::uint64_t bundles = (size + kTileWidth - 1) / kTileWidth; bundles > 0; --bundles) {
    const int width = tile_width(0, bundles - 1, size);
    FP_ASSIGN(const std::string bundle,
              reader.tile_bytes({TileKind::kEntries, 0, bundles - 1, width}));
    FP_ASSIGN(const auto leaves, parse_entry_bundle(bundle, width));
    for (std::size_t i = leaves.size(); i-- > 0;) {
      if (found.size() == limit) return found;
      if (kind) {
        FP_ASSIGN(const Entry entry, parse_entry(leaves[i]));
        if (entry.kind != *kind) continue;
      }
      // Read again, with its hash compared to the tree's.
      FP_ASSIGN(found.emplace_back(), shown_entry(reader, (bundles - 1) * kTileWidth + i, size));
    }
  }
  return found;
}

Json json_of(const ShownEntry& shown) {
  Json json = Json::parse(shown.leaf, nullptr, false);
  json["index"] = shown.index;
  json["leaf_hash"] = hex_encode(leaf_hash(shown.leaf));
  return json;
}

Json json_of(const SignedCheckpoint& head) {
  return {{"origin", head.origin},
          {"size", head.size},
          {"root", base64_encode(head.root)},
          {"time", time_text_ms(head.time_s * 1000)}};
}

void print_one(const ShownEntry& shown) {
  fmt::print(
      "index            {}\nkind             {}\nsubject          {}\ntime             {}\nhash    "
      "         {}\n",
      shown.index, kind_name(shown.entry.kind), shown.entry.subject,
      time_text_ms(shown.entry.time_ms), hex_encode(leaf_hash(shown.leaf)));
  for (const auto& [name, value] : shown.entry.body) {
    const Result<std::string> text = canonical_print(value);
    fmt::print("{:<16} {}\n", name, text ? *text : text.error().code);
  }
}

}  // namespace

Result<int> cmd_ledger_init(const CommandInput& input) {
  const std::string dir = positional(input, 0);
  if (dir.empty())
    return fail(ErrorKind::kInvalid, "missing_argument", "'ledger init' needs a folder");
  for (const char* option : {"log-key", "cosigner-key"})
    if (input.settings.text(option).empty())
      return fail(
          ErrorKind::kInvalid, "missing_argument",
          fmt::format("'ledger init' needs --{} FILE; 'fieldprint keygen' makes the file", option),
          option);
  FP_ASSIGN(SignerKey log, SignerKey::load(input.settings.text("log-key")));
  FP_ASSIGN(SignerKey cosigner, SignerKey::load(input.settings.text("cosigner-key")));
  const LedgerKeys keys{std::move(log), std::move(cosigner)};
  FP_TRY(Ledger::create(dir, keys));
  fmt::print("made {}: the log {} with its first entry; its public keys are in {}/{}\n", dir,
             keys.log.name(), dir, kPolicyFileName);
  return 0;
}

Result<int> cmd_ledger_show(const CommandInput& input) {
  const Settings& settings = input.settings;
  FP_ASSIGN(const LedgerFolder folder, find_ledger(settings, positional(input, 0)));
  const std::unique_ptr<LedgerReader> reader = make_reader(folder);
  FP_ASSIGN(const SignedCheckpoint head, reader->checkpoint());
  if (settings.integer("index") >= 0) {
    FP_ASSIGN(
        const ShownEntry one,
        shown_entry(*reader, static_cast<std::uint64_t>(settings.integer("index")), head.size));
    if (settings.flag("json"))
      print_json(json_of(one));
    else
      print_one(one);
    return 0;
  }
  std::optional<EntryKind> kind;
  if (!settings.text("kind").empty()) {
    FP_ASSIGN(kind, parse_kind(settings.text("kind")));
  }
  FP_ASSIGN(const std::vector<ShownEntry> entries,
            newest(*reader, head.size, kind, static_cast<std::size_t>(settings.integer("limit"))));
  if (settings.flag("json")) {
    Json list = Json::array();
    for (const ShownEntry& entry : entries) list.push_back(json_of(entry));
    print_json({{"folder", folder.dir}, {"checkpoint", json_of(head)}, {"entries", list}});
    return 0;
  }
  std::vector<std::vector<std::string>> rows;
  rows.reserve(entries.size());
  for (const ShownEntry& one : entries)
    rows.push_back({std::to_string(one.index), time_text_ms(one.entry.time_ms),
                    std::string(kind_name(one.entry.kind)), one.entry.subject});
  fmt::print(stderr, "{}: {} entries, signed {}\n", head.origin, head.size,
             time_text_ms(head.time_s * 1000));
  print_rows({"INDEX", "TIME", "KIND", "SUBJECT"}, rows);
  return 0;
}

namespace {

// The newest checkpoint that covers the entry and that a witness policy accepts, if there is one.
Result<SignedCheckpoint> head_for_proof(LedgerReader& reader, std::uint64_t index) {
  constexpr std::size_t kMaxBytes = std::size_t{1} << 20;
  const Result<std::string> text =
      read_text_file(reader.dir() + "/checkpoint.witnessed", kMaxBytes);
  if (text) {
    const LedgerTrust& trust = reader.trust();
    FP_ASSIGN(SignedCheckpoint witnessed,
              open_checkpoint(*text, trust.origin, trust.log_keys, trust.cosigners));
    if (index < witnessed.size) return witnessed;
  }
  return reader.checkpoint();
}

}  // namespace

Result<int> cmd_ledger_prove(const CommandInput& input) {
  if (input.positionals.empty())
    return fail(ErrorKind::kInvalid, "missing_argument", "'ledger prove' needs an entry's index");
  FP_ASSIGN(const std::uint64_t index, parse_index(input.positionals[0]));
  FP_ASSIGN(const LedgerFolder folder, find_ledger(input.settings, positional(input, 1)));
  const std::unique_ptr<LedgerReader> reader = make_reader(folder);
  FP_ASSIGN(const SignedCheckpoint head, head_for_proof(*reader, index));
  FP_ASSIGN(const InclusionProof proof, reader->prove(index, head));
  FP_ASSIGN(const std::string leaf, reader->leaf(index, head.size));
  TlogProof text;
  text.index = index;
  text.hashes = proof.hashes;
  text.checkpoint = head.text;
  if (!input.settings.flag("json")) {
    fmt::print("{}", tlog_proof_print(text));
    return 0;
  }
  Json hashes = Json::array();
  for (const Digest256& hash : proof.hashes) hashes.push_back(base64_encode(hash));
  print_json({{"index", index},
              {"leaf", leaf},
              {"leaf_hash", base64_encode(leaf_hash(leaf))},
              {"hashes", std::move(hashes)},
              {"checkpoint", head.text}});
  return 0;
}

Result<int> cmd_ledger_export(const CommandInput& input) {
  if (input.positionals.empty())
    return fail(ErrorKind::kInvalid, "missing_argument", "'ledger export' needs a new folder");
  FP_ASSIGN(const LedgerFolder folder, find_ledger(input.settings, positional(input, 1)));
  const std::unique_ptr<LedgerReader> reader = make_reader(folder);
  const std::string& out = input.positionals[0];
  FP_ASSIGN(const ExportSummary summary, export_ledger(Env::real(), *reader, out));
  if (input.settings.flag("json")) {
    print_json({{"folder", out},
                {"checkpoint", json_of(summary.checkpoint)},
                {"files", summary.files},
                {"bytes", summary.bytes}});
    return 0;
  }
  fmt::print("{} entries in {} files, {}: check it with 'fieldprint ledger verify {}'\n",
             summary.checkpoint.size, summary.files, human_bytes(summary.bytes), out);
  return 0;
}

}  // namespace fieldprint::app
