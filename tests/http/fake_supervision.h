// What a supervised engine says, made up: reports with a real chain over made-up fingerprints.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/request.h"
#include "supervisor/report.h"

namespace fieldprint::testing_http {

// The place of one choice. anchor and model: "sha256:..." or anything else for none.
struct FakePlace {
  std::string response_id;
  std::size_t choice = 0;
  std::string model;
  std::string anchor;
};

struct FakeCourse {
  std::vector<TokenId> tokens;            // that stayed
  std::vector<RollbackRecord> rollbacks;  // each dropped the two tokens behind `to_token`
  std::uint64_t gap = 0;                  // tokens without a record before the first
};

// The recipe's digest in every report.
Digest256 fake_recipe();
std::shared_ptr<const SupervisionReport> fake_report(const SupervisionRequest& request,
                                                     const FakePlace& place,
                                                     const FakeCourse& course);

}  // namespace fieldprint::testing_http
