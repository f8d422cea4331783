// The list of an anchor's files that gets signed: the payload of an OpenSSF Model Signing
// (OMS) v1.0 signature, an in-toto Statement v1 with predicate
// https://model_signing/signature/v1.0. docs/formats/anchor.md has the grammar.
//
// Source: ossf/model-signing-spec; behaviour of model_signing 1.1.1.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace fieldprint {

inline constexpr std::size_t kManifestMaxBytes = std::size_t{64} << 10;
inline constexpr std::size_t kManifestMaxFiles = 256;
inline constexpr std::size_t kManifestMaxName = 1024;

struct ManifestFile {
  std::string name;    // relative path with '/', no "." or ".." in it
  std::string digest;  // "sha256:<hex>" of the file's bytes
};

struct Manifest {
  std::string name;  // of the whole, for people; not compared
  std::vector<ManifestFile> files;
};

// "sha256:<hex>" over the files' binary digests in their order: the subject of the statement.
std::string manifest_digest(const std::vector<ManifestFile>& files);

// Sorts the files by name. Errors: manifest_corrupt (no file, a name twice, no digest),
// manifest_path_unsafe, manifest_too_large.
Result<std::string> print_manifest(Manifest manifest);

// Takes any spelling of the JSON and fields it does not know, as OMS asks. Fuzz entry point.
// Errors: manifest_type_unknown (another _type, predicateType or way to serialise, named in
// the message), manifest_path_unsafe (absolute, or leaves the folder), manifest_corrupt,
// manifest_too_large.
Result<Manifest> parse_manifest(std::string_view payload);

}  // namespace fieldprint
