// Where one installation keeps its trust: docs/formats/trust-root.md.
//
//   <dir>/root.json        newest trust root, in its envelope: what verifiers are given
//   <dir>/roots/<n>.json   the versions before it, 1 .. newest - 1
//   <dir>/seen             largest tree head that was verified here: "<size>\n<base64>\n"
//   <dir>/keys/            secret keys, 0600; on machines that only verify it is not there
//   <dir>/ledger/          the log (ledger/ledger.h)
//   <dir>/anchors/<name>/  anchor folders (anchor/signed.h)
//
// Thread rule: any thread, one folder at a time. Several processes may read; writes replace
// whole files.
#pragma once

#include <optional>
#include <string>

#include "core/error.h"
#include "provenance/authority_log.h"
#include "provenance/trust_root.h"
#include "store/env.h"

namespace fieldprint {

struct TrustFolder {
  std::string dir;
  SignedRoot genesis;  // version 1: believed because it lies here
  SignedRoot newest;   // reached from it by a chain of successors

  std::string keys_dir() const { return dir + "/keys"; }
  std::string ledger_dir() const { return dir + "/ledger"; }
  std::string anchors_dir() const { return dir + "/anchors"; }
};

// Errors: trust_missing (no root.json: 'fieldprint anchor init' makes one), trust_incomplete
// (a version between is not there), those of open_root and open_successor, and of Env.
Result<TrustFolder> open_trust_folder(Env& env, const std::string& dir);

// Makes the folder's root.json; nothing is replaced. Errors: trust_exists, those of open_root
// and of Env.
Result<TrustFolder> create_trust_folder(Env& env, const std::string& dir,
                                        const std::string& root_envelope);

// Puts the next version in place, keeping the one before. Errors: those of open_successor and
// of Env.
Status save_successor(Env& env, TrustFolder& folder, const std::string& root_envelope);

// Errors: trust_seen_invalid (the file is not what was written), those of Env.
Result<std::optional<SeenHead>> load_seen_head(Env& env, const TrustFolder& folder);
// Keeps the larger of `head` and what is there. Errors: as above.
Status save_seen_head(Env& env, const TrustFolder& folder, const SeenHead& head);

}  // namespace fieldprint
