// /v1/fieldprint: receipts, anchors, revocations.
#include <utility>

#include "api/response.h"
#include "core/log.h"
#include "http/receipt_draft.h"
#include "http/respond.h"
#include "http/routes.h"

namespace fieldprint {
namespace {

Result<std::string> receipt_body(const ServerState& state, const std::string& id,
                                 httplib::Response& response) {
  if (state.service.receipts == nullptr) {
    return fail(ErrorKind::kNotFound, "receipts_off",
                "this server issues no receipts; start it with a trust folder and --receipts on");
  }
  FP_ASSIGN(const ReceiptBook::Found found, state.service.receipts->find(id));
  // A pending one is worth asking for again; an integrated one gets newer proofs with time.
  if (found.state < Durability::kIntegrated) response.set_header("Retry-After", "1");
  response.set_header("Cache-Control", "no-store");
  return print_receipt_file(found.file);
}

std::string anchors_body(const ServerState& state) {
  const ServiceContext& service = state.service;
  AnchorReport report;
  if (service.anchors != nullptr) {
    report = service.anchors->report();
  } else {
    report.state = service.engine->anchor_state();
  }
  std::optional<AnchorInfo> front;
  const auto standing = standing_of(service, report.state.digest);
  if (standing) front = anchor_info(*standing);
  return print_anchor_report(report, front,
                             standing ? standing->binding.supervision.get() : nullptr);
}

Result<std::string> revoke(ServerState& state, const std::string& body) {
  if (state.service.anchors == nullptr) {
    return fail(ErrorKind::kUnsupported, "trust_missing",
                "this server has no trust folder, so no signature means anything to it; start it "
                "with --trust");
  }
  if (body.size() > state.limits.envelope_bytes) {
    return fail(ErrorKind::kTooLarge, "body_too_large",
                "a statement's envelope has at most " +
                    std::to_string(state.limits.envelope_bytes) + " bytes");
  }
  FP_ASSIGN(const RevocationReceipt receipt, state.service.anchors->revoke(body));
  return print_revocation(receipt);
}

}  // namespace

void install_trust_routes(httplib::Server& server, ServerState& state) {
  server.Get("/v1/fieldprint/receipts/([^/]+)",
             [&state](const httplib::Request& request, httplib::Response& response) {
               respond(state, response, receipt_body(state, request.matches[1], response));
             });
  server.Get("/v1/fieldprint/anchors",
             [&state](const httplib::Request&, httplib::Response& response) {
               respond_json(response, 200, anchors_body(state));
             });
  server.Post("/v1/fieldprint/anchors/revocations",
              [&state](const httplib::Request& request, httplib::Response& response) {
                respond(state, response, revoke(state, request.body));
              });
}

}  // namespace fieldprint
