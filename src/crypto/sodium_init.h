// Internal to src/crypto: every use of libsodium comes after this.
#pragma once

namespace fieldprint {
void ensure_sodium();  // once per process, from any thread
}  // namespace fieldprint
