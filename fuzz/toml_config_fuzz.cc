// fieldprint.toml: accepted settings print as TOML that reads back to the same settings.
#include "app/config/settings.h"
#include "core/check.h"
#include "fuzz/input.h"

using fieldprint::app::Command;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto layer = fieldprint::app::toml_layer(fuzz_text(data, size), "fuzz.toml");
  if (!layer) {
    FP_CHECK(!layer.error().code.empty());
    return 0;
  }
  const auto settings = fieldprint::app::merge_settings(Command::kServe, {*layer});
  if (!settings) return 0;
  const std::string page = fieldprint::app::print_config(Command::kServe, *settings);
  const auto again = fieldprint::app::toml_layer(page, "page.toml");
  FP_CHECK(again.has_value());
  const auto merged = fieldprint::app::merge_settings(Command::kServe, {*again});
  FP_CHECK(merged.has_value());
  for (const auto& [name, setting] : settings->all()) {
    FP_CHECK(merged->all().at(name).items == setting.items);
  }
  return 0;
}
