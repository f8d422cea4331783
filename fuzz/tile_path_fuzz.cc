// A path that reads prints to the same text and cannot leave its folder.
#include "core/check.h"
#include "fuzz/input.h"
#include "merkle/tile.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz_text(data, size);
  const auto tile = fieldprint::parse_tile_path(text);
  if (!tile) return 0;
  FP_CHECK(fieldprint::tile_path(*tile) == text);
  FP_CHECK(text.starts_with("tile/") && text.find("..") == std::string_view::npos);
  FP_CHECK(text.find("//") == std::string_view::npos);
  return 0;
}
