#include "merkle/entry_bundle.h"

#include "merkle/tile.h"

namespace fieldprint {
namespace {

tl::unexpected<Error> invalid(const std::string& what) {
  return fail(ErrorKind::kCorrupt, "bundle_invalid", "entry bundle " + what);
}

}  // namespace

Status append_entry(std::string& bundle, std::string_view entry) {
  if (entry.size() > kMaxEntryBytes) {
    return fail(ErrorKind::kTooLarge, "entry_too_large",
                "a log entry has at most 65535 bytes, not " + std::to_string(entry.size()));
  }
  bundle.push_back(static_cast<char>(entry.size() >> 8));
  bundle.push_back(static_cast<char>(entry.size() & 0xFF));
  bundle.append(entry);
  return {};
}

Result<std::vector<std::string_view>> parse_entry_bundle(std::string_view bundle, int width) {
  if (width < 1 || width > kTileWidth) return invalid("of a width outside 1..256");
  std::vector<std::string_view> entries;
  entries.reserve(static_cast<std::size_t>(width));
  for (int i = 0; i < width; ++i) {
    if (bundle.size() < 2) return invalid("ends before entry " + std::to_string(i));
    const auto high = static_cast<unsigned char>(bundle[0]);
    const auto low = static_cast<unsigned char>(bundle[1]);
    const std::size_t size = std::size_t{high} << 8 | low;
    bundle.remove_prefix(2);
    if (bundle.size() < size) return invalid("ends inside entry " + std::to_string(i));
    entries.push_back(bundle.substr(0, size));
    bundle.remove_prefix(size);
  }
  if (!bundle.empty()) return invalid("has bytes behind its last entry");
  return entries;
}

}  // namespace fieldprint
