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

namespace fieldprint {
namespace {

using Clock = std::chrono::steady_clock;
using Spans = std::vector<TokenSpan>;

// An anchor is itself the beginning of the sequence: what follows takes no BOS.
bool needs_bos(const ServerState& state) {
  return !state.service.anchor && state.service.text->adds_bos() && state.service.text->bos() >= 0;
}

Result<Spans> prompt_of(const ServerState& state, const ChatRequest& request) {
  const ChatRender render{.add_generation_prompt = true, .add_bos = !state.service.anchor};
  return state.service.text->render(request.messages, render);
}

Result<Spans> prompt_of(const ServerState& state, const CompletionRequest& request) {
  TokenSpan span;
  span.cls = KvClass::kUser;
  if (const auto* tokens = std::get_if<std::vector<TokenId>>(&request.prompt)) {
    span.tokens = *tokens;  // exactly these: the client chose them
    return Spans{std::move(span)};
  }
  // Text never becomes control tokens; who wants these sends token ids.
  span.tokens = state.service.text->encode(std::get<std::string>(request.prompt), false);
  if (needs_bos(state)) span.tokens.insert(span.tokens.begin(), state.service.text->bos());
  return Spans{std::move(span)};
}

// The tenant is the API key, so two keys never share prefix pages; a client can
// divide its own further, and cannot reach another's by choosing a salt.
std::string salt_of(const ServerState& state, const httplib::Request& request,
                    const std::string& salt) {
  const auto key = state.auth.match(request.get_header_value("Authorization"),
                                    request.get_header_value("X-Api-Key"));
  const std::string tenant = key ? "key " + std::to_string(*key) : std::string("anyone");
  return salt.empty() && !key ? std::string() : tenant + '\n' + salt;
}

// The engine knows neither JSON nor our field names.
Error with_client_param(Error error, const char* prompt_field) {
  if (error.param == "prompt") error.param = prompt_field;
  if (error.param == "choices") error.param = "n";
  if (error.code == "context_length_exceeded" && error.param.empty()) error.param = prompt_field;
  return error;
}

struct Kind {
  const char* id_prefix;
  const char* prompt_field;
  std::unique_ptr<ResponsePrinter> (*make_printer)(ResponseHead, const RequestBase&);
};
constexpr Kind kChatKind{"chatcmpl-", "messages", &make_chat_printer};
constexpr Kind kCompletionKind{"cmpl-", "prompt", &make_completion_printer};

Result<std::unique_ptr<Generation>> submit(ServerState& state, const httplib::Request& http,
                                           const Kind& kind, const std::string& id,
                                           RequestBase& base, Spans prompt) {
  if (!base.sampling.seed) base.sampling.seed = draw_seed();
  GenerationRequest request;
  request.id = id;
  request.prompt = std::move(prompt);
  request.sampling = base.sampling;
  request.max_tokens = base.max_tokens;
  request.stop = base.stop;
  request.ignore_eos = base.ignore_eos;
  request.choices = base.choices;
  request.use_anchor = state.service.anchor.has_value();
  request.cache_salt = salt_of(state, http, base.cache_salt);
  if (base.streaming == Streaming::kOff) {
    request.deadline = Clock::now() + state.options.request_deadline;
  }
  auto generation = state.service.engine->submit(std::move(request));
  if (!generation) {
    return tl::unexpected(with_client_param(std::move(generation.error()), kind.prompt_field));
  }
  return generation;
}

void respond_whole(ServerState& state, httplib::Response& response, GenerationJob& job) {
  const SocketStream* stream = ConnectionContext::current().stream;
  Result<std::string> body =
      job.collect([stream] { return stream != nullptr && stream->peer_left(); });
  if (body) {
    respond_json(response, 200, *body);
  } else {
    respond_error(state, response, body.error());
  }
}

void respond_stream(const httplib::Request& request, httplib::Response& response,
                    const std::shared_ptr<GenerationJob>& job) {
  response.status = 200;
  response.set_header("Cache-Control", "no-cache");
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
  auto slot = state.admissions.enter();
  if (!slot) {
    return fail(ErrorKind::kUnavailable, "server_busy",
                "all " + std::to_string(state.options.max_streams) +
                    " places for generations are taken; try again shortly");
  }
  state.metrics.ignored_fields.add(static_cast<double>(base.ignored_count));
  FP_ASSIGN(Spans prompt, prompt_of(state, *parsed));
  const std::string id = make_id(kind.id_prefix);
  FP_ASSIGN(auto generation, submit(state, http, kind, id, base, std::move(prompt)));
  ResponseHead head{id, static_cast<std::int64_t>(std::time(nullptr)),
                    base.model.empty() ? state.service.model_id : base.model,
                    state.system_fingerprint};
  const ConnectionContext& context = ConnectionContext::current();
  auto job = std::make_shared<GenerationJob>(
      state,
      GenerationJob::Parts{std::move(*slot), std::move(generation),
                           kind.make_printer(std::move(head), base), base, context.request_start,
                           Clock::now() + state.options.request_deadline, context.request_id});
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
