// /v1/fieldprint/log: the published files of the ledger in the layout of C2SP tlog-tiles.
#include <utility>

#include "http/respond.h"
#include "http/routes.h"
#include "ledger/ledger_reader.h"
#include "merkle/tile.h"

namespace fieldprint {
namespace {

// The specification: tiles never change, a checkpoint must not be kept beyond a few seconds.
constexpr const char* kTileCaching = "max-age=31536000, immutable";
constexpr const char* kCheckpointCaching = "max-age=2, must-revalidate";

Result<LedgerReader*> ledger_of(const ServerState& state) {
  if (state.service.log != nullptr) return state.service.log;
  return fail(ErrorKind::kNotFound, "ledger_off",
              "this server has no ledger; start it with a trust folder ('fieldprint anchor init')");
}

// Bytes of a tile that the present checkpoint needs, and of no other.
Result<std::string> tile_of(const ServerState& state, const std::string& path) {
  FP_ASSIGN(LedgerReader* const log, ledger_of(state));
  FP_ASSIGN(const TileId tile, parse_tile_path("tile/" + path));
  FP_ASSIGN(const SignedCheckpoint head, log->checkpoint());
  if (tile.width > tile_width(tile.level, tile.index, head.size))
    return fail(ErrorKind::kNotFound, "ledger_tile_missing",
                "the ledger has no such tile yet; see its checkpoint for its size");
  return log->tile_bytes(tile);
}

Result<std::string> checkpoint_of(const ServerState& state) {
  FP_ASSIGN(LedgerReader* const log, ledger_of(state));
  FP_ASSIGN(SignedCheckpoint head, log->checkpoint());
  return std::move(head.text);
}

void respond(ServerState& state, httplib::Response& response, const Result<std::string>& bytes,
             const char* content_type, const char* caching) {
  if (!bytes) {
    Error error = bytes.error();
    // A path that is no tile's is a file that does not exist.
    if (error.code == "tile_path_invalid") error.kind = ErrorKind::kNotFound;
    state.metrics.count_rejection(error.code);
    respond_error(state, response, error);
    return;
  }
  response.status = 200;
  response.set_header("Cache-Control", caching);
  response.set_content(*bytes, content_type);
}

}  // namespace

void install_log_routes(httplib::Server& server, ServerState& state) {
  server.Get("/v1/fieldprint/log/checkpoint", [&state](const httplib::Request&,
                                                       httplib::Response& response) {
    respond(state, response, checkpoint_of(state), "text/plain; charset=utf-8", kCheckpointCaching);
  });
  server.Get("/v1/fieldprint/log/tile/(.+)",
             [&state](const httplib::Request& request, httplib::Response& response) {
               respond(state, response, tile_of(state, request.matches[1]),
                       "application/octet-stream", kTileCaching);
             });
}

}  // namespace fieldprint
