#include "ledger/ledger_export.h"

#include "merkle/tile.h"

namespace fieldprint {

Result<ExportSummary> export_ledger(Env& env, LedgerReader& reader, const std::string& out) {
  FP_ASSIGN(const bool exists, env.exists(out));
  if (exists)
    return fail(ErrorKind::kInvalid, "export_exists",
                out + ": exists already; name a folder that does not");
  ExportSummary summary;
  FP_ASSIGN(summary.checkpoint, reader.checkpoint());
  FP_TRY(make_dirs_durably(env, out));
  DurableWriter writer(env);
  const auto write = [&](const std::string& name, std::string_view bytes) {
    ++summary.files;
    summary.bytes += bytes.size();
    return writer.write(out + "/" + name,
                        {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  };
  for (TileId tile : grown_tiles(0, summary.checkpoint.size)) {
    FP_ASSIGN(const std::string hashes, reader.tile_bytes(tile));
    FP_TRY(write(tile_path(tile), hashes));
    if (tile.level != 0) continue;
    tile.kind = TileKind::kEntries;
    FP_ASSIGN(const std::string entries, reader.tile_bytes(tile));
    FP_TRY(write(tile_path(tile), entries));
  }
  std::string policy = "# Public keys of this log (C2SP tlog-policy), as its owner named them.\n";
  for (const VerifierKey& key : reader.trust().log_keys) policy += "log " + key.print() + "\n";
  std::size_t number = 0;
  for (const VerifierKey& key : reader.trust().cosigners)
    policy += "witness cosigner" + std::to_string(++number) + " " + key.print() + "\n";
  policy += number == 0 ? "quorum none\n" : "quorum cosigner1\n";
  FP_TRY(write(kPolicyFileName, policy));
  FP_TRY(writer.finish());
  FP_TRY(write("checkpoint", summary.checkpoint.text));
  FP_TRY(writer.finish());
  return summary;
}

}  // namespace fieldprint
