// The keys of RFC 8032 TEST 1 and 2 as a log's and a witness's, and a checkpoint that both
// signed, made by an independent program (Go's crypto/ed25519 and sumdb/note).
#pragma once

#include <string>

#include "crypto/note_key.h"
#include "merkle/note.h"

namespace fieldprint {

inline constexpr const char* kLogVkey =
    "example.com/log+cc714670+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";
inline constexpr const char* kLogSecret =
    "PRIVATE+KEY+example.com/log+cc714670+AZ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";
inline constexpr const char* kWitnessVkey =
    "witness.example.com/w1+e8498172+BD1AF8PoQ4lakrcKp00bfrycmCzPLsSWjMDNVfEq9GYM";
inline constexpr const char* kWitnessSecret =
    "PRIVATE+KEY+witness.example.com/w1+e8498172+BEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7";

inline constexpr const char* kBody =
    "example.com/log\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n";
inline constexpr const char* kLogLine =
    "\xE2\x80\x94 example.com/log zHFGcFgWv11lWNcaencFBAIP2jaYDmzzTqQYktcWjHonYVMYj1dpRwXFs7qAp9G9"
    "NVl6Q4L2TIziuY0FeM1j5xOVYQ0=\n";
inline constexpr const char* kWitnessLine =
    "\xE2\x80\x94 witness.example.com/w1 6EmBcgAAAABkGFDLHmvnDPwBwvh6CkrZ+KdRUbprazkCBfoZVzG+zENW0"
    "XaJb/ANo/xFOx5bRYu4PZZxi6NWlIJoAMdu0C1XBGeLAQ==\n";
inline constexpr std::uint64_t kWitnessTime = 1679315147;

inline std::string signed_checkpoint() { return std::string(kBody) + "\n" + kLogLine; }
inline std::string cosigned_checkpoint() { return signed_checkpoint() + kWitnessLine; }

inline VerifierKey vkey(const std::string& text) { return *VerifierKey::parse(text); }
inline SignerKey skey(const std::string& text) { return std::move(*SignerKey::parse(text)); }
inline SignerKey new_key(const std::string& name, NoteKeyType type) {
  return std::move(*SignerKey::generate(name, type));
}

}  // namespace fieldprint
