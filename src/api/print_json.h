// Pieces of JSON that several printers share. Include only in .cc files: it pulls
// in the whole JSON library.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "api/response.h"

namespace fieldprint {

using OrderedJson = nlohmann::ordered_json;  // keys in the order written

std::string dump_json(const OrderedJson& value);
OrderedJson usage_json(const UsageReport& usage);
OrderedJson evidence_json(const Evidence& evidence);
OrderedJson mass_json(std::span<const float, kKvClasses> mass);
OrderedJson supervision_json(const Evidence& evidence);  // null: nothing was supervised
OrderedJson record_json(const RollbackRecord& record);
OrderedJson reading_json(const SegmentReading& reading, bool kept);
OrderedJson rollback_event_json(const RollbackEvent& event, std::uint32_t ordinal);
OrderedJson anchor_json(const AnchorInfo& anchor);
const char* finish_reason_name(FinishReason reason);

OrderedJson seed_json(std::uint64_t seed);          // a string beyond 2^53-1
OrderedJson text_or_null(const std::string& text);  // null for the empty text
// Rounded to so many units per one: dividing by a whole number gives the shortest decimal.
double rounded(double value, double units);
// A log-probability as a finite number with the digits a float has.
double print_logprob(float logprob);

}  // namespace fieldprint
