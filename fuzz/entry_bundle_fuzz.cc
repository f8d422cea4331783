// First byte: the width less one; the rest: the bundle. What reads writes to the same bytes.
#include "core/check.h"
#include "fuzz/input.h"
#include "merkle/entry_bundle.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const int width = data[0] + 1;
  const std::string_view bundle = fuzz_text(data + 1, size - 1);
  const auto entries = fieldprint::parse_entry_bundle(bundle, width);
  if (!entries) return 0;
  FP_CHECK(entries->size() == static_cast<std::size_t>(width));
  std::string again;
  for (const std::string_view entry : *entries) {
    FP_CHECK(fieldprint::append_entry(again, entry).has_value());
  }
  FP_CHECK(again == bundle);
  return 0;
}
