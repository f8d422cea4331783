// The same model in another quantisation, through libllama. For tests of what can tell them apart.
#pragma once

#include <llama.h>

#include <string>

#include "gtest/gtest.h"

namespace fieldprint::test {

enum class Requantized { kQ8_0, kQ5_1, kQ4_0 };

inline void requantize(const std::string& from, const std::string& to, Requantized type) {
  llama_model_quantize_params params = llama_model_quantize_default_params();
  params.nthread = 2;
  params.allow_requantize = true;
  switch (type) {
    case Requantized::kQ8_0:
      params.ftype = LLAMA_FTYPE_MOSTLY_Q8_0;
      break;
    case Requantized::kQ5_1:
      params.ftype = LLAMA_FTYPE_MOSTLY_Q5_1;
      break;
    case Requantized::kQ4_0:
      params.ftype = LLAMA_FTYPE_MOSTLY_Q4_0;
      break;
  }
  ASSERT_EQ(llama_model_quantize(from.c_str(), to.c_str(), &params), 0U) << to;
}

}  // namespace fieldprint::test
