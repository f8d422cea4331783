// /v1/fieldprint/sessions and /v1/fieldprint/pacemaker.
#include <utility>

#include "anchor/registry.h"
#include "api/request.h"
#include "api/response.h"
#include "core/check.h"
#include "http/ids.h"
#include "http/pacemaker_feed.h"
#include "http/respond.h"
#include "http/routes.h"
#include "http/session_call.h"
#include "http/tenant.h"

namespace fieldprint {
namespace {

// Of the anchor in front; absent where it measures nothing.
std::optional<DetectorSettings> detector_of(const ServerState& state) {
  const auto model = supervision_model_of(state, state.service.engine->anchor_state().digest);
  if (model == nullptr || model->coherence() == nullptr) return std::nullopt;
  return model->detector();
}

std::string list_body(ServerState& state, const httplib::Request& request) {
  const auto sessions = state.sessions.list(tenant_of(state, request), unix_now());
  return print_session_list(sessions, state.sessions.limits().idle_seconds);
}

Result<std::string> session_body(ServerState& state, const httplib::Request& request) {
  FP_ASSIGN(const SessionView view,
            state.sessions.find(tenant_of(state, request), request.matches[1], unix_now()));
  std::vector<std::string> answers;
  for (const auto& turn : view.session->turns)
    answers.push_back(state.service.text->decode(turn->answer, false));
  return print_session(view, answers, state.sessions.limits().idle_seconds);
}

Result<std::string> change(ServerState& state, const httplib::Request& request, SessionVerb verb) {
  FP_ASSIGN(const SessionRequest wanted, parse_session_request(request.body, verb, state.limits));
  const std::string owner = tenant_of(state, request);
  const std::string id = request.matches[1];
  const std::optional<DetectorSettings> settings = detector_of(state);
  const DetectorSettings* detector = settings ? &*settings : nullptr;
  const auto carry_out = [&]() -> Result<std::shared_ptr<const Session>> {
    switch (verb) {
      case SessionVerb::kRollback:
        return state.sessions.rollback(owner, id, unix_now(), wanted.target, detector);
      case SessionVerb::kFork:
        return state.sessions.fork(owner, id, unix_now(), wanted.target, detector,
                                   make_id(kSessionPrefix));
      case SessionVerb::kCheckpoint:
        return state.sessions.mark(owner, id, unix_now(), wanted.target, wanted.name);
    }
    FP_UNREACHABLE();
  };
  FP_ASSIGN(const std::shared_ptr<const Session> session, carry_out());
  return print_session_head(*session);
}

Result<std::string> forget(ServerState& state, const httplib::Request& request) {
  const std::string owner = tenant_of(state, request);
  const std::string id = request.matches[1];
  FP_TRY(state.sessions.erase(owner, id, unix_now()));
  state.pacemaker.forget(owner, id);
  return print_session_deleted(id);
}

}  // namespace

void install_session_routes(httplib::Server& server, ServerState& state) {
  constexpr const char* kSessions = "/v1/fieldprint/sessions";
  constexpr const char* kSession = "/v1/fieldprint/sessions/([^/]+)";
  const std::pair<const char*, SessionVerb> verbs[] = {{"/rollback", SessionVerb::kRollback},
                                                       {"/fork", SessionVerb::kFork},
                                                       {"/checkpoint", SessionVerb::kCheckpoint}};
  server.Get(kSessions, [&state](const httplib::Request& request, httplib::Response& response) {
    respond_json(response, 200, list_body(state, request));
  });
  server.Get(kSession, [&state](const httplib::Request& request, httplib::Response& response) {
    respond(state, response, session_body(state, request));
  });
  server.Delete(kSession, [&state](const httplib::Request& request, httplib::Response& response) {
    respond(state, response, forget(state, request));
  });
  for (const auto& [path, verb] : verbs) {
    server.Post(std::string(kSession) + path, [&state, verb = verb](const httplib::Request& request,
                                                                    httplib::Response& response) {
      respond(state, response, change(state, request, verb));
    });
  }
  server.Get("/v1/fieldprint/pacemaker", [&state](const httplib::Request& request,
                                                  httplib::Response& response) {
    respond_json(response, 200, print_pacemaker(state.pacemaker.report(tenant_of(state, request))));
  });
}

}  // namespace fieldprint
