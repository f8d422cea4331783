// Our side of oms_interop.py. usage: oms_tool sign FOLDER SECRET.pem | verify FOLDER PUBLIC.pem
// Prints the error's code, or "ok"; exit code 0 or 1.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include "anchor/signed.h"

namespace {

std::string read_file(const char* path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

int report(const fieldprint::Status& status) {
  std::puts(status ? "ok" : status.error().code.c_str());
  if (!status) std::fprintf(stderr, "%s\n", status.error().message.c_str());
  return status ? 0 : 1;
}

fieldprint::Status run(const std::string& action, const std::string& folder,
                       const std::string& pem) {
  using namespace fieldprint;
  if (action == "sign") {
    FP_ASSIGN(const P256SecretKey key, P256SecretKey::from_pem(pem));
    FP_TRY(sign_anchor_folder(folder, key));
    return {};
  }
  FP_ASSIGN(const P256PublicKey key, P256PublicKey::from_pem(pem));
  const std::vector<AnchorKey> keys{{"key", key.pem()}};
  FP_TRY(load_signed_anchor(folder, keys));
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  return report(run(argv[1], argv[2], read_file(argv[3])));
}
