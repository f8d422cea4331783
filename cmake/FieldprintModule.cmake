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

# What a test finds in its environment, for the ENVIRONMENT property. One variable only:
# gtest_discover_tests cannot pass a list.
function(fp_test_environment result)
  set(${result} "FIELDPRINT_MODELS_DIR=${CMAKE_SOURCE_DIR}/models" PARENT_SCOPE)
endfunction()

# fp_test(NAME kv_pool_test SOURCES pool_test.cc DEPS fp_kv [LABELS slow] [TIMEOUT seconds])
#   One GoogleTest binary, one ctest entry per TEST. Label `slow` keeps a suite out of the
#   sanitizer builds; `slow` and `model` run alone on two cores. Tests find
#   the models under $FIELDPRINT_MODELS_DIR.
function(fp_test)
  cmake_parse_arguments(T "" "NAME;TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  if(FIELDPRINT_SANITIZE AND "slow" IN_LIST T_LABELS)
    return()
  endif()
  add_executable(${T_NAME} ${T_SOURCES})
  add_dependencies(fieldprint_tests ${T_NAME})
  target_link_libraries(${T_NAME} PRIVATE fp_flags ${T_DEPS} GTest::gtest_main GTest::gmock)
  target_include_directories(${T_NAME} PRIVATE "${CMAKE_SOURCE_DIR}/tests")
  if(FIELDPRINT_SANITIZE)
    target_sources(${T_NAME} PRIVATE "${CMAKE_SOURCE_DIR}/tests/sanitizer_options.cc")
  endif()
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 120)
  endif()
  fp_test_environment(environment)
  set(properties TIMEOUT ${T_TIMEOUT} ENVIRONMENT "${environment}")
  if(T_LABELS)  # an empty value would swallow the next property
    list(APPEND properties LABELS ${T_LABELS})
    if("slow" IN_LIST T_LABELS OR "model" IN_LIST T_LABELS)
      list(APPEND properties PROCESSORS 2)  # runs a model on two threads that wait for each other
    endif()
  endif()
  # Names without printed parameters: those may be bytes of memory, different in each run.
  gtest_discover_tests(${T_NAME} DISCOVERY_TIMEOUT 60 TEST_PREFIX "${FIELDPRINT_TEST_PREFIX}"
    NO_PRETTY_VALUES PROPERTIES ${properties})
endfunction()
