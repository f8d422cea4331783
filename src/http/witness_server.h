// A witness over HTTP: POST /add-checkpoint and nothing else (C2SP tlog-witness).
//
// Thread rule: start() and the destructor from one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/error.h"
#include "ledger/witness.h"

namespace fieldprint {

struct WitnessServerOptions {
  std::string host = "127.0.0.1";
  std::int32_t port = 8090;  // 0: any free port
  std::int32_t max_connections = 64;
};

class WitnessServer {
 public:
  // Answers until it is destroyed. `witness` is not owned. Errors: address_invalid,
  // address_in_use, bind_failed.
  static Result<std::unique_ptr<WitnessServer>> start(const WitnessServerOptions& options,
                                                      Witness& witness);
  virtual ~WitnessServer() = default;
  virtual std::int32_t port() const = 0;
};

}  // namespace fieldprint
