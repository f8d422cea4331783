// Defaults of the sanitizer run times, linked into every test of a sanitizer build, so that a
// test started by hand behaves as under ctest.
//
// ggml and libllama are built without sanitizers. ThreadSanitizer cannot see their barriers, so
// their workers look unsynchronised; LeakSanitizer sees their device registries, which live until
// exit by design.

extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "called_from_lib:libggml-base.so\n"
         "called_from_lib:libggml-cpu.so\n"
         "called_from_lib:libllama.so\n"
         "race:libggml-base.so\n"
         "race:libggml-cpu.so\n";
}

extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libggml.so\n"
         "leak:libggml-base.so\n"
         "leak:libggml-cpu.so\n";
}

extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() {
  return "halt_on_error=1:second_deadlock_stack=1";
}

extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() {
  return "detect_stack_use_after_return=1:print_suppressions=0";
}

extern "C" const char* __ubsan_default_options();
extern "C" const char* __ubsan_default_options() { return "print_stacktrace=1"; }
