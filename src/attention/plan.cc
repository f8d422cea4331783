#include "attention/plan.h"

#include "core/check.h"

namespace fieldprint {

const char* kv_class_name(KvClass cls) {
  switch (cls) {
    case KvClass::kSink:
      return "sink";
    case KvClass::kAnchor:
      return "anchor";
    case KvClass::kSystem:
      return "system";
    case KvClass::kUser:
      return "user";
    case KvClass::kTool:
      return "tool";
    case KvClass::kMemory:
      return "memory";
    case KvClass::kOutput:
      return "output";
    case KvClass::kReserved:
      return "reserved";
  }
  FP_UNREACHABLE();
}

const char* anchor_mode_name(AnchorMode mode) {
  switch (mode) {
    case AnchorMode::kJoint:
      return "joint";
    case AnchorMode::kGated:
      return "gated";
    case AnchorMode::kFloored:
      return "floored";
  }
  FP_UNREACHABLE();
}

}  // namespace fieldprint
