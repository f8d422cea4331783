#include "http/respond.h"

#include <utility>

#include "api/response.h"

namespace fieldprint {
namespace {

const char* retry_after_seconds(const Error& error) {
  if (error.code == "model_loading") return "2";
  if (error.code == "draining") return "5";
  return "1";
}

}  // namespace

void respond_json(httplib::Response& response, int status, const std::string& body) {
  response.status = status;
  response.set_content(body, "application/json");
}

void respond_error(const ServerState& state, httplib::Response& response, const Error& error) {
  const int status = http_status(error);
  if (status == 503) response.set_header("Retry-After", retry_after_seconds(error));
  if (status == 401) response.set_header("WWW-Authenticate", "Bearer");
  std::optional<int> percent;
  if (error.code == "model_loading") percent = state.loading_percent.load();
  respond_json(response, status, print_error(error, percent));
}

void respond(ServerState& state, httplib::Response& response, const Result<std::string>& body) {
  if (body) {
    respond_json(response, 200, *body);
  } else {
    state.metrics.count_rejection(body.error().code);
    respond_error(state, response, body.error());
  }
}

}  // namespace fieldprint
