#include "http/gate.h"

#include <array>
#include <utility>

#include "core/log.h"
#include "http/connection.h"
#include "http/ids.h"
#include "http/respond.h"

namespace fieldprint {
namespace {

using Handled = httplib::Server::HandlerResponse;

constexpr std::size_t kMaxTarget = 1024;

struct Route {
  std::string_view path;
  std::string_view methods;  // as in an Allow header
  bool is_public;            // no API key needed
  bool while_loading;        // answers before the model is there
  bool is_work;              // refused while draining
};
constexpr std::array kRoutes = {
    Route{"/v1/chat/completions", "POST", false, false, true},
    Route{"/v1/completions", "POST", false, false, true},
    Route{"/tokenize", "POST", false, false, true},
    Route{"/detokenize", "POST", false, false, true},
    Route{"/v1/fieldprint/receipts/{id}", "GET", false, false, false},
    Route{"/v1/fieldprint/anchors", "GET", false, false, false},
    // Not work: an anchor can be revoked while the server drains.
    Route{"/v1/fieldprint/anchors/revocations", "POST", false, false, false},
    Route{"/v1/fieldprint/pacemaker", "GET", false, false, false},
    Route{"/v1/fieldprint/sessions", "GET", false, false, false},
    Route{"/v1/fieldprint/sessions/{id}/rollback", "POST", false, false, false},
    Route{"/v1/fieldprint/sessions/{id}/fork", "POST", false, false, false},
    Route{"/v1/fieldprint/sessions/{id}/checkpoint", "POST", false, false, false},
    Route{"/v1/fieldprint/sessions/{id}", "GET, DELETE", false, false, false},
    Route{"/v1/fieldprint/log/checkpoint", "GET", false, false, false},
    Route{"/v1/fieldprint/log/tile/{id}", "GET", false, false, false},
    Route{"/v1/models", "GET", false, false, false},
    Route{"/v1/models/{id}", "GET", false, false, false},
    Route{"/metrics", "GET", false, true, false},
    Route{"/version", "GET", false, true, false},
    Route{"/health", "GET", true, true, false},
    Route{"/livez", "GET", true, true, false},
    Route{"/readyz", "GET", true, true, false},
};

const Route* find_route(std::string_view path) {
  constexpr std::string_view kId = "{id}";
  for (const Route& route : kRoutes) {
    if (route.path == path) return &route;
    const std::size_t at = route.path.find(kId);
    if (at == std::string_view::npos) continue;
    const std::string_view prefix = route.path.substr(0, at);
    const std::string_view suffix = route.path.substr(at + kId.size());
    if (path.size() > prefix.size() + suffix.size() && path.starts_with(prefix) &&
        path.ends_with(suffix)) {
      return &route;
    }
  }
  return nullptr;
}

bool is_probe(std::string_view route) {
  return route == "/health" || route == "/livez" || route == "/readyz" || route == "/metrics";
}

void begin_request(const httplib::Request& request) {
  const std::string given = request.get_header_value("X-Request-Id");
  ConnectionContext::current().request_id = valid_request_id(given) ? given : make_id("req-");
}

// Rules about who asks from where.
Status check_caller(const httplib::Request& request, const ServerState& state, const Route* route) {
  const std::string host = request.get_header_value("Host");
  if (!state.origins.allows_host(host)) {
    return fail(ErrorKind::kForbidden, "host_not_allowed",
                "this server answers only to localhost; set an API key to use another name");
  }
  const std::string origin = request.get_header_value("Origin");
  if (!origin.empty() && !state.origins.allows_origin(origin, host)) {
    return fail(ErrorKind::kForbidden, "origin_not_allowed",
                "pages of this origin may not use the server; add it with --cors-origin");
  }
  const bool is_public = route != nullptr && route->is_public;
  const bool preflight = request.method == "OPTIONS";
  if (state.auth.required() && !is_public && !preflight &&
      !state.auth.match(request.get_header_value("Authorization"),
                        request.get_header_value("X-Api-Key"))) {
    return fail(ErrorKind::kUnauthorized, "invalid_api_key",
                "a valid API key is needed, as 'Authorization: Bearer <key>' or 'X-Api-Key'");
  }
  return {};
}

// Rules about the shape of the request. The library would inflate a compressed
// body without a limit and parse forms that no route takes.
Status check_shape(const httplib::Request& request) {
  if (request.target.size() > kMaxTarget) {
    return fail(ErrorKind::kInvalid, "target_too_long", "the URL is longer than 1024 bytes");
  }
  const std::string encoding = request.get_header_value("Content-Encoding");
  if (!encoding.empty() && encoding != "identity") {
    return fail(ErrorKind::kUnsupported, "encoding_not_supported",
                "compressed request bodies are not supported");
  }
  if (request.method == "POST") {
    const std::string type = request.get_header_value("Content-Type");
    const std::string_view media = std::string_view(type).substr(0, type.find(';'));
    if (media != "application/json" && media != "application/json ") {
      return fail(ErrorKind::kInvalid, "content_type_invalid",
                  "send the body with 'Content-Type: application/json'");
    }
  }
  return {};
}

Status check_phase(const ServerState& state, const Route* route) {
  if (route == nullptr || route->while_loading) return {};
  const std::optional<Error> error = state.not_ready();
  if (!error) return {};
  if (state.has_service && !route->is_work) return {};  // draining: reading is harmless
  return tl::unexpected(*error);
}

Handled before_routing(const httplib::Request& request, httplib::Response& response,
                       ServerState& state) {
  begin_request(request);
  const Route* route = find_route(request.path);
  Status status = check_shape(request);
  if (status) status = check_caller(request, state, route);
  if (status && request.method == "OPTIONS") {
    response.status = 204;
    response.set_header("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS");
    response.set_header("Access-Control-Allow-Headers",
                        "Authorization, Content-Type, X-Api-Key, X-Request-Id");
    response.set_header("Access-Control-Max-Age", "600");
    return Handled::Handled;
  }
  if (status) status = check_phase(state, route);
  if (status) return Handled::Unhandled;
  state.metrics.count_rejection(status.error().code);
  respond_error(state, response, status.error());
  if (request.method != "GET" && request.method != "HEAD") {
    // The body is still on the wire and would be read as the next request.
    ConnectionContext::current().close_after_response = true;
    response.set_header("Connection", "close");
  }
  return Handled::Handled;
}

void after_routing(const httplib::Request& request, httplib::Response& response,
                   ServerState& state) {
  ConnectionContext& context = ConnectionContext::current();
  if (context.request_id.empty()) begin_request(request);  // refused before routing
  response.set_header("X-Request-Id", context.request_id);
  const std::string origin = request.get_header_value("Origin");
  if (!origin.empty() && state.origins.allows_origin(origin, request.get_header_value("Host"))) {
    response.set_header("Access-Control-Allow-Origin", origin);
    response.set_header("Access-Control-Expose-Headers",
                        "X-Request-Id, Retry-After, Fieldprint-Receipt, Fieldprint-Session");
    response.set_header("Vary", "Origin");
  }
}

// Statuses that the library sets by itself come without a body.
void explain_status(const httplib::Request& request, httplib::Response& response,
                    ServerState& state) {
  if (!response.body.empty() || response.content_provider_) return;
  const int status = response.status;
  Error error{ErrorKind::kInvalid, "bad_request", "the request is not valid HTTP", ""};
  if (status == 404) {
    const Route* route = find_route(request.path);
    error = {ErrorKind::kNotFound, "route_not_found", "there is no such route", ""};
    // A method is the whole of the list or a word of it.
    if (route != nullptr && route->methods.find(request.method) == std::string_view::npos) {
      error = {ErrorKind::kInvalid, "method_not_allowed",
               "this route takes " + std::string(route->methods), ""};
      response.set_header("Allow", std::string(route->methods));
      response.status = 405;
    }
  } else if (status == 413) {
    error = {ErrorKind::kTooLarge, "body_too_large",
             "the body is over the limit of " + std::to_string(state.limits.body_bytes) + " bytes",
             ""};
  } else if (status == 414) {
    error.code = "target_too_long";
    error.message = "the URL is too long";
  } else if (status >= 500) {
    error = {ErrorKind::kInternal, "internal", "an internal error; the log has the request id", ""};
  }
  const int final_status = response.status;
  respond_error(state, response, error);
  response.status = final_status;
  if (status != 404) {
    // Where the request ended is not known: what follows must not be read as another.
    ConnectionContext::current().close_after_response = true;
    response.set_header("Connection", "close");
  }
}

void log_response(const httplib::Request& request, const httplib::Response& response,
                  ServerState& state) {
  ConnectionContext& context = ConnectionContext::current();
  const std::string_view route = route_of(request.path);
  const auto elapsed = std::chrono::steady_clock::now() - context.request_start;
  const double seconds = std::chrono::duration<double>(elapsed).count();
  state.metrics.count_response(route, response.status, seconds);
  if (!is_probe(route)) {
    const LogRequestScope scope(context.request_id);
    log_info("response", {{"method", request.method.substr(0, 16)},
                          {"route", std::string(route)},
                          {"status", std::int64_t{response.status}},
                          {"seconds", seconds}});
  }
  context.request_id.clear();
}

}  // namespace

std::string_view route_of(std::string_view path) {
  const Route* route = find_route(path);
  return route == nullptr ? std::string_view("unmatched") : route->path;
}

void install_gate(httplib::Server& server, ServerState& state) {
  server.set_pre_routing_handler(
      [&state](const httplib::Request& request, httplib::Response& response) {
        return before_routing(request, response, state);
      });
  server.set_post_routing_handler(
      [&state](const httplib::Request& request, httplib::Response& response) {
        after_routing(request, response, state);
      });
  server.set_error_handler(httplib::Server::Handler(
      [&state](const httplib::Request& request, httplib::Response& response) {
        explain_status(request, response, state);
      }));
  server.set_exception_handler([](const httplib::Request& /*request*/, httplib::Response& response,
                                  std::exception_ptr raised) {
    const LogRequestScope scope(ConnectionContext::current().request_id);
    try {
      std::rethrow_exception(std::move(raised));
    } catch (const std::exception& error) {
      log_error("a handler threw", {{"what", std::string(error.what())}});
    } catch (...) {
      log_error("a handler threw something that is no exception");
    }
    response.status = 500;
    response.body.clear();
  });
  server.set_logger([&state](const httplib::Request& request, const httplib::Response& response) {
    log_response(request, response, state);
  });
}

}  // namespace fieldprint
