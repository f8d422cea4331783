// Writing JSON answers and errors into the HTTP library's response.
#pragma once

#include <httplib.h>

#include <string>

#include "core/error.h"
#include "http/state.h"

namespace fieldprint {

void respond_json(httplib::Response& response, int status, const std::string& body);
// Status, Retry-After where trying again helps, and OpenAI's error body.
void respond_error(const ServerState& state, httplib::Response& response, const Error& error);
// The body with 200, or the error, which is counted as a rejection.
void respond(ServerState& state, httplib::Response& response, const Result<std::string>& body);

}  // namespace fieldprint
