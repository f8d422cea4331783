// Native requests as text, one line per field that differs from its default.
#pragma once

#include <string>

#include "api/request.h"

namespace fieldprint::testing_api {

std::string describe(const ChatRequest& request);
std::string describe(const CompletionRequest& request);
std::string describe(const TokenizeRequest& request);
std::string describe(const DetokenizeRequest& request);
std::string describe(const Error& error);

}  // namespace fieldprint::testing_api
