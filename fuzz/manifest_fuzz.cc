// Manifests of OMS signatures: what is read from any spelling prints to ours, and reads back.
#include <algorithm>

#include "anchor/manifest.h"
#include "core/check.h"
#include "fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto manifest = fieldprint::parse_manifest(fuzz_text(data, size));
  if (!manifest) {
    FP_CHECK(!manifest.error().code.empty());
    return 0;
  }
  const auto printed = fieldprint::print_manifest(*manifest);
  if (!printed) {  // ours is the longer spelling of some
    FP_CHECK(printed.error().code == "manifest_too_large");
    return 0;
  }
  const auto again = fieldprint::parse_manifest(*printed);
  FP_CHECK(again.has_value());
  FP_CHECK(again->files.size() == manifest->files.size());
  for (const auto& file : manifest->files) {
    FP_CHECK(std::ranges::any_of(again->files, [&](const auto& other) {
      return other.name == file.name && other.digest == file.digest;
    }));
  }
  return 0;
}
