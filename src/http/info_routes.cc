// Models, tokenizing, version, probes and metrics.
#include <utility>

#include "api/request.h"
#include "api/response.h"
#include "http/pacemaker_feed.h"
#include "http/respond.h"
#include "http/routes.h"

namespace fieldprint {
namespace {

ModelCard card_of(const ServerState& state, const std::string& id) {
  const ServiceContext& service = state.service;
  ModelCard card;
  card.id = id;
  card.root = service.model_id;
  card.created = service.created;
  card.digest = service.model_digest;
  card.max_model_len = service.engine->options().context_length;
  card.anchor = service.anchor;
  card.config = service.engine->config();
  return card;
}

Result<std::string> tokenize(const ServerState& state, const std::string& body) {
  FP_ASSIGN(const TokenizeRequest request, parse_tokenize_request(body, state.limits));
  FP_TRY(state.check_model(request.model, "model"));
  const TextService& text = *state.service.text;
  TokenizeResponse response;
  if (request.text) {
    if (request.add_special_tokens && text.adds_bos() && text.bos() >= 0) {
      response.tokens.push_back(text.bos());
    }
    const auto tokens = text.encode(*request.text, request.parse_special);
    response.tokens.insert(response.tokens.end(), tokens.begin(), tokens.end());
  } else {
    const ChatRender render{.add_generation_prompt = request.add_generation_prompt,
                            .add_bos = request.add_special_tokens};
    FP_ASSIGN(const auto spans, text.render(request.messages, render));
    for (const TokenSpan& span : spans) {
      response.tokens.insert(response.tokens.end(), span.tokens.begin(), span.tokens.end());
    }
  }
  if (request.return_token_strs) {
    response.token_strs.emplace();
    for (const TokenId token : response.tokens) {
      response.token_strs->push_back(text.decode({&token, 1}, true));
    }
  }
  response.max_model_len = state.service.engine->options().context_length;
  return print_tokenize(response);
}

Result<std::string> detokenize(const ServerState& state, const std::string& body) {
  FP_ASSIGN(const DetokenizeRequest request, parse_detokenize_request(body, state.limits));
  FP_TRY(state.check_model(request.model, "model"));
  const TextService& text = *state.service.text;
  for (const TokenId token : request.tokens) {
    if (token < 0 || token >= text.vocab_size()) {
      return fail(ErrorKind::kInvalid, "invalid_value",
                  "token " + std::to_string(token) + " is outside the vocabulary of " +
                      std::to_string(text.vocab_size()),
                  "tokens");
    }
  }
  return print_detokenize(text.decode(request.tokens, true));
}

}  // namespace

void install_info_routes(httplib::Server& server, ServerState& state) {
  server.Get("/v1/models", [&state](const httplib::Request&, httplib::Response& response) {
    std::vector<ModelCard> cards{card_of(state, state.service.model_id)};
    for (const std::string& alias : state.service.aliases) cards.push_back(card_of(state, alias));
    respond_json(response, 200, print_model_list(cards));
  });
  server.Get("/v1/models/(.+)",
             [&state](const httplib::Request& request, httplib::Response& response) {
               const std::string id = request.matches[1];
               const Status known = state.check_model(id, "model");
               if (known) {
                 respond_json(response, 200, print_model(card_of(state, id)));
               } else {
                 respond_error(state, response, known.error());
               }
             });
  server.Post("/tokenize", [&state](const httplib::Request& request, httplib::Response& response) {
    respond(state, response, tokenize(state, request.body));
  });
  server.Post("/detokenize",
              [&state](const httplib::Request& request, httplib::Response& response) {
                respond(state, response, detokenize(state, request.body));
              });
  server.Get("/version", [&state](const httplib::Request&, httplib::Response& response) {
    respond_json(response, 200, print_version(state.options.build_version));
  });
}

void install_probe_routes(httplib::Server& server, ServerState& state) {
  server.Get("/livez", [](const httplib::Request&, httplib::Response& response) {
    respond_json(response, 200, print_status("ok"));
  });
  const auto ready = [&state](const httplib::Request&, httplib::Response& response) {
    if (const auto error = state.not_ready()) {
      respond_error(state, response, *error);
    } else {
      respond_json(response, 200, print_status("ok"));
    }
  };
  server.Get("/readyz", ready);
  server.Get("/health", ready);
  server.Get("/metrics", [&state](const httplib::Request&, httplib::Response& response) {
    const std::string text = state.page.text([&state] {
      if (!state.has_service.load(std::memory_order_acquire)) return;
      const Engine& engine = *state.service.engine;
      update_engine_metrics(state.registry, engine);
      update_supervisor_metrics(state.registry, engine);
      update_session_metrics(state);
      if (state.options.vllm_metrics == VllmMetricNames::kOn) {
        update_vllm_metrics(state.registry, engine, state.service.model_id);
      }
    });
    response.status = 200;
    response.set_content(text, "text/plain; version=0.0.4; charset=utf-8");
  });
}

}  // namespace fieldprint
