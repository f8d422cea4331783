#include "anchor/signed.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "anchor/files.h"

namespace fieldprint {
namespace {

namespace fs = std::filesystem;

// Names that may be in the folder. Links are refused whatever their name.
Status check_names(const std::string& folder) {
  std::error_code error;
  fs::directory_iterator names(folder, error);
  if (error) {
    return fail(ErrorKind::kNotFound, "anchor_missing",
                folder + " cannot be read as a folder: " + error.message());
  }
  for (; names != fs::directory_iterator(); names.increment(error)) {
    if (error) break;
    const std::string name = names->path().filename().string();
    const std::string path = names->path().string();
    const fs::file_status kind = names->symlink_status(error);
    if (error) break;
    if (kind.type() == fs::file_type::symlink) {
      return fail(ErrorKind::kForbidden, "anchor_symlink",
                  path + " is a symbolic link; an anchor's files must be in its folder");
    }
    const bool known = name == kAnchorJsonName || name == kAnchorTextName ||
                       name == kAnchorRowsName || name == kAnchorSupervisionName ||
                       name == kBundleName;
    if (!known) {
      return fail(ErrorKind::kForbidden, "anchor_unexpected_file",
                  path + " is no part of an anchor; move it away");
    }
  }
  if (error) return fail(ErrorKind::kIo, "io_read", folder + ": " + error.message());
  return {};
}

Result<std::string> read_bundle(const std::string& folder) {
  Result<InputFile> file = InputFile::open(folder + "/" + kBundleName);
  if (!file && file.error().code == "anchor_missing") {
    return fail(ErrorKind::kForbidden, "anchor_unsigned",
                folder +
                    " has no model.sig, so nothing proves who made it; 'fieldprint anchor "
                    "sign' signs it");
  }
  if (!file) return tl::unexpected(file.error());
  if (file->size() > kBundleMaxBytes) {
    return fail(ErrorKind::kTooLarge, "bundle_too_large",
                folder + "/model.sig has more than " + std::to_string(kBundleMaxBytes) + " bytes");
  }
  std::string text(static_cast<std::size_t>(file->size()), '\0');
  FP_TRY(file->read(std::span(reinterpret_cast<std::uint8_t*>(text.data()), text.size())));
  return text;
}

Manifest manifest_of(const LoadedAnchor& anchor) {
  Manifest manifest{anchor.artifact.name,
                    {{kAnchorJsonName, anchor.artifact.digest},
                     {kAnchorRowsName, anchor.rows.digest},
                     {kAnchorTextName, anchor.text.digest}}};
  if (!anchor.supervision.digest.empty()) {
    manifest.files.push_back({kAnchorSupervisionName, anchor.supervision.digest});
  }
  return manifest;
}

tl::unexpected<Error> mismatch(const std::string& folder, const std::string& what) {
  return fail(ErrorKind::kForbidden, "anchor_manifest_mismatch", folder + ": " + what);
}

Status compare(const std::string& folder, const Manifest& found, const Manifest& listed) {
  for (const ManifestFile& file : found.files) {
    const auto same = std::ranges::find(listed.files, file.name, &ManifestFile::name);
    if (same == listed.files.end()) return mismatch(folder, file.name + " is not signed");
    if (same->digest != file.digest) return mismatch(folder, file.name + " is not what was signed");
  }
  for (const ManifestFile& file : listed.files) {
    if (std::ranges::find(found.files, file.name, &ManifestFile::name) == found.files.end()) {
      return mismatch(folder, "the signature covers '" + file.name + "', no file of an anchor");
    }
  }
  return {};
}

}  // namespace

Result<SignedAnchor> load_signed_anchor(const std::string& folder,
                                        std::span<const AnchorKey> keys) {
  FP_TRY(check_names(folder));
  FP_ASSIGN(const std::string bundle, read_bundle(folder));
  FP_ASSIGN(const VerifiedBundle verified, verify_bundle(bundle, keys));
  FP_ASSIGN(LoadedAnchor loaded, load_anchor_files(folder));
  FP_TRY(compare(folder, manifest_of(loaded), verified.manifest));
  return SignedAnchor{std::move(loaded.artifact), verified.bundle_digest, verified.key_name};
}

Result<LoadedAnchor> sign_anchor_folder(const std::string& folder, const P256SecretKey& key) {
  const std::string target = folder + "/" + kBundleName;
  const std::string temporary = target + ".tmp";
  std::remove(temporary.c_str());  // of an interrupted call
  FP_TRY(check_names(folder));
  FP_ASSIGN(LoadedAnchor loaded, load_anchor_files(folder));
  FP_ASSIGN(const std::string bundle, sign_bundle(manifest_of(loaded), key));
  FP_TRY(write_file_synced(
      temporary, {{reinterpret_cast<const std::uint8_t*>(bundle.data()), bundle.size()}}));
  if (std::rename(temporary.c_str(), target.c_str()) != 0) {
    const int reason = errno;
    std::remove(temporary.c_str());
    return fail(ErrorKind::kIo, "io_write", target + ": " + std::strerror(reason));
  }
  FP_TRY(sync_folder(folder));
  return loaded;
}

}  // namespace fieldprint
