#include "http/ids.h"

#include <algorithm>
#include <random>

namespace fieldprint {
namespace {

std::uint64_t random_64() {
  thread_local std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32) | device();
}

}  // namespace

std::string make_id(std::string_view prefix) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string id(prefix);
  for (int half = 0; half < 2; ++half) {
    std::uint64_t bits = random_64();
    for (int i = 0; i < 16; ++i, bits >>= 4) id += kDigits[bits & 15U];
  }
  return id;
}

bool valid_request_id(std::string_view id) {
  return !id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

std::uint64_t draw_seed() { return random_64() >> 11; }

}  // namespace fieldprint
