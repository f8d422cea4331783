// Files of keys. A secret one is mode 0600 from its first moment and refused when wider.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "core/error.h"
#include "crypto/secret.h"

namespace fieldprint {

inline constexpr std::size_t kMaxKeyFileBytes = 16384;

// Creates `path` with mode 0600, whatever the umask, and syncs it and its folder. Never
// overwrites. Errors: key_file_exists, key_file_io; after key_file_io no file is left.
Status write_secret_key_file(const std::string& path, std::string_view contents);

// As above with mode 0644, for public keys.
Status write_public_key_file(const std::string& path, std::string_view contents);

// Checks the open file, not the path: it must be regular, belong to this user (or root), and
// give no right to group or others. Links are followed. Errors: key_file_missing,
// key_file_io, key_file_permissions (says the chmod that helps), key_file_owner,
// key_file_not_regular, key_file_too_large, key_file_empty.
Result<SecretBytes> read_secret_key_file(const std::string& path);

// Errors: as above, without permissions and owner.
Result<std::string> read_public_key_file(const std::string& path);

}  // namespace fieldprint
