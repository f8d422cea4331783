// POST /v1/chat/completions and /v1/completions.
#include <ctime>
#include <utility>

#include "api/request.h"
#include "api/response.h"
#include "core/log.h"
#include "http/connection.h"
#include "http/generation_job.h"
#include "http/ids.h"
#include "http/respond.h"
#include "http/routes.h"
#include "http/session_call.h"
#include "http/supervision.h"
#include "http/tenant.h"

namespace fieldprint {
namespace {

using Clock = std::chrono::steady_clock;
using Spans = std::vector<TokenSpan>;

// An anchor is itself the beginning of the sequence: what follows takes no BOS.
Anchored anchored(const ServerState& state, const RequestBase& base) {
  return state.service.anchor && base.override_envelope.empty() ? Anchored::kYes : Anchored::kNo;
}

ChatRender render_of(const ServerState& state, const RequestBase& base) {
  return {.add_generation_prompt = true, .add_bos = anchored(state, base) == Anchored::kNo};
}

Result<std::unique_ptr<SessionCall>> session_of(ServerState& state, const std::string& tenant,
                                                const ChatRequest& request) {
  return SessionCall::begin(state, tenant, request);
}
Result<std::unique_ptr<SessionCall>> session_of(ServerState& /*state*/,
                                                const std::string& /*tenant*/,
                                                const CompletionRequest& request) {
  // With an override it is the scope that this is for.
  if (request.base.session.empty() || !request.base.override_envelope.empty()) return nullptr;
  return fail(ErrorKind::kUnsupported, "unsupported",
              "'fieldprint.session' is for chats: a plain completion has no turns to keep",
              "fieldprint.session");
}

// session: null without one, and always for a plain completion.
Result<Spans> prompt_of(const ServerState& state, const ChatRequest& request,
                        const SessionCall* session) {
  const ChatRender render = render_of(state, request.base);
  if (session != nullptr) return session->prompt(render);
  return state.service.text->render(request.messages, render);
}

Result<Spans> prompt_of(const ServerState& state, const CompletionRequest& request,
                        const SessionCall* /*session*/) {
  TokenSpan span;
  span.cls = KvClass::kUser;
  if (const auto* tokens = std::get_if<std::vector<TokenId>>(&request.prompt)) {
    span.tokens = *tokens;  // exactly these: the client chose them
    return Spans{std::move(span)};
  }
  // Text never becomes control tokens; who wants these sends token ids.
  span.tokens = state.service.text->encode(std::get<std::string>(request.prompt), false);
  const TextService& text = *state.service.text;
  if (anchored(state, request.base) == Anchored::kNo && text.adds_bos() && text.bos() >= 0) {
    span.tokens.insert(span.tokens.begin(), text.bos());
  }
  return Spans{std::move(span)};
}

// The prompt with the identity said again; empty: the ladder has no such step.
Spans reminder(const ServerState& state, const ChatRequest& request, const SessionCall* session) {
  const std::string identity = identity_in_front(state);
  if (identity.empty()) return {};
  const std::vector<ChatMessage> messages = with_reminder(request.messages, identity);
  if (messages.empty()) return {};
  const ChatRender render = render_of(state, request.base);
  Result<Spans> spans = session != nullptr ? session->prompt_with(messages, render)
                                           : state.service.text->render(messages, render);
  if (spans) return std::move(*spans);
  log_debug("no reminder in the ladder", {{"code", spans.error().code}});
  return {};
}
// A plain completion has no turns to say it between.
Spans reminder(const ServerState& /*state*/, const CompletionRequest& /*request*/,
               const SessionCall* /*session*/) {
  return {};
}

// What the engine is to do about drift; absent: nothing is watched.
template <typename Request>
std::optional<SupervisionRequest> supervision_of(const ServerState& state, const Request& request,
                                                 std::optional<ReleaseMode> release,
                                                 const ReceiptDraft* receipt,
                                                 const SessionCall* session) {
  if (!release) return std::nullopt;
  SupervisionRequest supervision;
  supervision.release = *release;
  if (receipt != nullptr) supervision.salt = receipt->salt();
  if (*release != ReleaseMode::kOff) supervision.reminder = reminder(state, request, session);
  if (session != nullptr) {
    supervision.detector = session->detector(state.service.engine->anchor_state().digest);
  }
  return supervision;
}

// The tenant is the API key, so two keys never share prefix pages; a client can
// divide its own further, and cannot reach another's by choosing a salt.
std::string salt_of(const ServerState& state, const std::string& tenant, const std::string& salt) {
  return salt.empty() && !state.auth.required() ? std::string() : tenant + '\n' + salt;
}

// The engine knows neither JSON nor our field names.
Error with_client_param(Error error, const char* prompt_field) {
  if (error.param == "prompt") error.param = prompt_field;
  if (error.param == "choices") error.param = "n";
  if (error.code == "context_length_exceeded" && error.param.empty()) error.param = prompt_field;
  return error;
}

struct Kind {
  const char* path;
  const char* id_prefix;
  const char* prompt_field;
  std::unique_ptr<ResponsePrinter> (*make_printer)(ResponseHead, const RequestBase&);
};
constexpr Kind kChatKind{kChatPath, "chatcmpl-", "messages", &make_chat_printer};
constexpr Kind kCompletionKind{kCompletionPath, "cmpl-", "prompt", &make_completion_printer};

// Leave to run without the anchor, if the request brings an override; nullopt if it brings
// none. Its use is in the ledger when this returns, whatever becomes of the request.
Result<std::optional<OverrideGrant>> admit_override(const ServerState& state,
                                                    const RequestBase& base,
                                                    const std::string& request_digest,
                                                    const std::string& commitment,
                                                    const std::string& id) {
  if (base.override_envelope.empty()) return std::nullopt;
  const ServiceContext& service = state.service;
  if (service.overrides == nullptr) {
    return fail(ErrorKind::kForbidden, "override_unavailable",
                "this server cannot accept overrides: it has no trust folder with a ledger that "
                "it may write",
                "fieldprint.override");
  }
  OverrideRequest request;
  request.envelope = base.override_envelope;
  request.use.place = {service.tenant, service.model_digest};
  // What stands in front now; after a revocation the one that stood there first.
  request.use.anchor_digest = service.engine->anchor_state().digest;
  if (request.use.anchor_digest.empty() && service.front.artifact) {
    request.use.anchor_digest = service.front.artifact->digest;
  }
  request.use.session = base.session;
  request.use.request_digest = request_digest;
  request.use.now = unix_now();
  request.response_id = id;
  request.request_commitment = commitment;
  Result<OverrideGrant> grant = service.overrides->admit(request);
  if (!grant) {
    if (grant.error().param.empty()) grant.error().param = "fieldprint.override";
    return tl::unexpected(std::move(grant.error()));
  }
  return std::optional(std::move(*grant));
}

Result<std::unique_ptr<Generation>> submit(ServerState& state, const std::string& tenant,
                                           const Kind& kind, const std::string& id,
                                           RequestBase& base, Spans prompt,
                                           std::optional<OverrideGrant> grant,
                                           std::optional<SupervisionRequest> supervision) {
  if (!base.sampling.seed) base.sampling.seed = draw_seed();
  GenerationRequest request;
  request.id = id;
  request.prompt = std::move(prompt);
  request.sampling = base.sampling;
  request.max_tokens = base.max_tokens;
  request.stop = base.stop;
  request.ignore_eos = base.ignore_eos;
  request.choices = base.choices;
  request.use_anchor = state.service.anchor.has_value() && !grant;
  request.override_grant = std::move(grant);
  request.supervision = std::move(supervision);
  request.cache_salt = salt_of(state, tenant, base.cache_salt);
  if (base.streaming == Streaming::kOff) {
    request.deadline = Clock::now() + state.options.request_deadline;
  }
  auto generation = state.service.engine->submit(std::move(request));
  if (!generation) {
    return tl::unexpected(with_client_param(std::move(generation.error()), kind.prompt_field));
  }
  return generation;
}

void set_id_headers(httplib::Response& response, const GenerationJob& job) {
  const std::string receipt = job.receipt_id();
  if (!receipt.empty()) response.set_header("Fieldprint-Receipt", receipt);
  const std::string session = job.session_id();
  if (!session.empty()) response.set_header("Fieldprint-Session", session);
}

void respond_whole(ServerState& state, httplib::Response& response, GenerationJob& job) {
  const SocketStream* stream = ConnectionContext::current().stream;
  Result<std::string> body =
      job.collect([stream] { return stream != nullptr && stream->peer_left(); });
  if (body) {
    set_id_headers(response, job);
    respond_json(response, 200, *body);
  } else {
    respond_error(state, response, body.error());
  }
}

void respond_stream(const httplib::Request& request, httplib::Response& response,
                    const std::shared_ptr<GenerationJob>& job) {
  response.status = 200;
  response.set_header("Cache-Control", "no-cache");
  set_id_headers(response, *job);
  response.set_header("X-Accel-Buffering", "no");  // a proxy that buffers would hold tokens back
  const SocketStream* stream = ConnectionContext::current().stream;  // outlives the response
  auto provider = [job, stream](std::size_t /*offset*/, httplib::DataSink& sink) {
    // A silent handler writes nothing, so only this notices that nobody listens.
    if (stream->peer_left()) return false;
    const std::string frames = job->frames();
    if (!frames.empty() && !sink.write(frames.data(), frames.size())) return false;
    if (job->finished()) sink.done();
    return true;
  };
  if (request.version == "HTTP/1.0") {  // knows no chunks: the end is the connection's end
    ConnectionContext::current().close_after_response = true;
    response.set_content_provider("text/event-stream", std::move(provider));
  } else {
    response.set_chunked_content_provider("text/event-stream", std::move(provider));
  }
}

template <typename Request>
Status generate(ServerState& state, const httplib::Request& http, httplib::Response& response,
                const Kind& kind, Result<Request> parsed) {
  if (!parsed) return tl::unexpected(std::move(parsed.error()));
  RequestBase& base = parsed->base;
  FP_TRY(state.check_model(base.model, "model"));
  FP_ASSIGN(const std::optional<ReleaseMode> release,
            decide_release(state.options.release, base, anchored(state, base),
                           state.service.engine->supervision()));
  auto slot = state.admissions.enter();
  if (!slot) {
    return fail(ErrorKind::kUnavailable, "server_busy",
                "all " + std::to_string(state.options.max_streams) +
                    " places for generations are taken; try again shortly");
  }
  state.metrics.ignored_fields.add(static_cast<double>(base.ignored_count));
  const std::string tenant = tenant_of(state, http);
  FP_ASSIGN(std::unique_ptr<SessionCall> session, session_of(state, tenant, *parsed));
  if (session) base.session = session->id();  // it may have been "new"
  FP_ASSIGN(Spans prompt, prompt_of(state, *parsed, session.get()));
  const std::string id = make_id(kind.id_prefix);
  std::unique_ptr<ReceiptDraft> receipt;
  if (state.service.receipts != nullptr) {
    receipt = std::make_unique<ReceiptDraft>(state, kind.path, http.body);
  }
  const std::string commitment =
      receipt ? receipt->request_commitment()
              : receipt_commitment(ReceiptBook::draw_salt(), "request", http.body);
  FP_ASSIGN(std::optional<OverrideGrant> grant,
            admit_override(state, base, request_digest(*parsed), commitment, id));
  const std::string override_digest = grant ? grant->id : "";
  if (receipt) receipt->describe(base, id, override_digest);
  if (session) session->describe(id, override_digest);
  FP_ASSIGN(auto generation,
            submit(state, tenant, kind, id, base, std::move(prompt), std::move(grant),
                   supervision_of(state, *parsed, release, receipt.get(), session.get())));
  ResponseHead head{id, static_cast<std::int64_t>(std::time(nullptr)),
                    base.model.empty() ? state.service.model_id : base.model,
                    state.system_fingerprint};
  const ConnectionContext& context = ConnectionContext::current();
  auto job = std::make_shared<GenerationJob>(
      state,
      GenerationJob::Parts{
          std::move(*slot), std::move(generation), kind.make_printer(std::move(head), base), base,
          context.request_start, Clock::now() + state.options.request_deadline, context.request_id,
          release, override_digest, std::move(receipt), tenant, std::move(session)});
  switch (base.streaming) {
    case Streaming::kOff:
      respond_whole(state, response, *job);
      return {};
    case Streaming::kOn:
      respond_stream(http, response, job);
      return {};
  }
  return {};
}

void finish(ServerState& state, httplib::Response& response, const Status& status) {
  if (status) return;
  state.metrics.count_rejection(status.error().code);
  respond_error(state, response, status.error());
}

}  // namespace

void install_generation_routes(httplib::Server& server, ServerState& state) {
  server.Post("/v1/chat/completions",
              [&state](const httplib::Request& request, httplib::Response& response) {
                finish(state, response,
                       generate(state, request, response, kChatKind,
                                parse_chat_request(request.body, state.limits)));
              });
  server.Post("/v1/completions",
              [&state](const httplib::Request& request, httplib::Response& response) {
                finish(state, response,
                       generate(state, request, response, kCompletionKind,
                                parse_completion_request(request.body, state.limits)));
              });
}

}  // namespace fieldprint
