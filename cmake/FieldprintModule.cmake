# fp_module(NAME core SOURCES a.cc b.cc DEPS fp_x LIBS spdlog::spdlog)
#   One static library per folder of src/: fp_<name>.
function(fp_module)
  cmake_parse_arguments(M "" "NAME" "SOURCES;DEPS;LIBS" ${ARGN})
  if(M_SOURCES)
    add_library(fp_${M_NAME} STATIC ${M_SOURCES})
    target_link_libraries(fp_${M_NAME} PUBLIC fp_flags ${M_DEPS} ${M_LIBS})
  else()
    add_library(fp_${M_NAME} INTERFACE)
    target_link_libraries(fp_${M_NAME} INTERFACE fp_flags ${M_DEPS} ${M_LIBS})
  endif()
endfunction()

# Everything that the tests of this build tree need; what `make test` builds in sanitizer trees,
# so that modules no test there links are not compiled.
add_custom_target(fieldprint_tests)

# What the sanitizer run times need to know, for the ENVIRONMENT property of a test.
function(fp_test_environment result)
  set(tools "${CMAKE_SOURCE_DIR}/tools")
  set(${result}
    "FIELDPRINT_MODELS_DIR=${CMAKE_SOURCE_DIR}/models"
    "LSAN_OPTIONS=suppressions=${tools}/lsan.supp:print_suppressions=0"
    "TSAN_OPTIONS=suppressions=${tools}/tsan.supp:halt_on_error=1:second_deadlock_stack=1"
    "UBSAN_OPTIONS=print_stacktrace=1"
    PARENT_SCOPE)
endfunction()

# fp_test(NAME kv_pool_test SOURCES pool_test.cc DEPS fp_kv [LABELS slow] [TIMEOUT seconds])
#   One GoogleTest binary, one ctest entry per TEST. Label `slow` keeps a suite out of the
#   sanitizer builds. Tests find the models under $FIELDPRINT_MODELS_DIR.
function(fp_test)
  cmake_parse_arguments(T "" "NAME;TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  if(FIELDPRINT_SANITIZE AND "slow" IN_LIST T_LABELS)
    return()
  endif()
  add_executable(${T_NAME} ${T_SOURCES})
  add_dependencies(fieldprint_tests ${T_NAME})
  target_link_libraries(${T_NAME} PRIVATE fp_flags ${T_DEPS} GTest::gtest_main GTest::gmock)
  target_include_directories(${T_NAME} PRIVATE "${CMAKE_SOURCE_DIR}/tests")
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 120)
  endif()
  # Slow suites run a model on two threads that wait for each other by spinning: a
  # neighbour on the same cores would make them ten times slower.
  set(processors 1)
  if("slow" IN_LIST T_LABELS)
    set(processors 2)
  endif()
  fp_test_environment(environment)
  gtest_discover_tests(${T_NAME} DISCOVERY_TIMEOUT 60 TEST_PREFIX "${FIELDPRINT_TEST_PREFIX}"
    PROPERTIES TIMEOUT ${T_TIMEOUT} PROCESSORS ${processors} LABELS "${T_LABELS}" ENVIRONMENT "${environment}")
endfunction()
