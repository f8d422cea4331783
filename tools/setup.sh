#!/usr/bin/env bash
# Brings a bare Debian 12 machine to the point where `cmake --preset release` works.
#
# usage: tools/setup.sh [run|test]     (default run; test adds clang 14, the second model and the
#                                       Python client of the end-to-end suite)
#
# Safe to call again: every step looks first, and a call with nothing to do takes under a second.
# Environment:
#   FIELDPRINT_LLAMA_PREFIX  an own llama.cpp install; then no ggml is built here
#   FIELDPRINT_CACHE         wheels, sources and logs (default .cache); may be shared by clones
#   FIELDPRINT_JOBS          parallel compile jobs (default: all cores)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

MODE=${1:-run}
CACHE=${FIELDPRINT_CACHE:-.cache}
JOBS=${FIELDPRINT_JOBS:-$(nproc)}
PIP=.venv/bin/pip

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# --- system packages ---------------------------------------------------------------------------
missing_packages() {
  comm -23 <(sort "$@") \
    <(dpkg-query -W -f='${db:Status-Abbrev}\t${Package}\n' 2>/dev/null |
      sed -n 's/^ii *\t//p' | sort -u)
}

setup_packages() {
  if ! command -v dpkg-query >/dev/null; then
    say "not a Debian system: install the equivalents of tools/packages-*.txt yourself"
    return
  fi
  local lists=(tools/packages-build.txt) missing
  [[ $MODE == test ]] && lists+=(tools/packages-test.txt)
  missing=$(missing_packages "${lists[@]}" | tr '\n' ' ')
  [[ -z $missing ]] && return
  if [[ $(id -u) != 0 ]]; then
    say "some system packages are missing. Run this once, then repeat the command:"
    printf '\n  sudo apt-get update && sudo apt-get install -y --no-install-recommends %s\n\n' \
      "$missing" >&2
    exit 1
  fi
  say "installing system packages: $missing"
  mkdir -p "$CACHE/logs"
  local log=$CACHE/logs/apt.log
  # shellcheck disable=SC2086  # a list of words on purpose
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y \
         --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "apt-get failed; the whole log is $log"
  fi
}

# --- Python environment ------------------------------------------------------------------------
setup_venv() {
  [[ -x $PIP ]] && return
  say "creating .venv"
  python3 -m venv .venv
}

# --- ggml and libllama -------------------------------------------------------------------------
# CPU flags of this machine, named one by one. Never GGML_NATIVE: it would turn on AMX, whose
# kernels crash in prompt processing of Q4_1 weights (docs/decisions/0002-no-amx.md).
ggml_flags() {
  local cpu flags="-DGGML_NATIVE=OFF"
  cpu=" $(sed -n 's/^flags[^:]*: //p;/^flags/q' /proc/cpuinfo) "
  on_when() {
    local option=$1 state=ON feature
    shift
    for feature in "$@"; do [[ $cpu == *" $feature "* ]] || state=OFF; done
    flags+=" -D$option=$state"
  }
  if [[ $(uname -m) == x86_64 ]]; then
    on_when GGML_SSE42 sse4_2
    on_when GGML_AVX avx
    on_when GGML_AVX2 avx2
    on_when GGML_BMI2 bmi2
    on_when GGML_FMA fma
    on_when GGML_F16C f16c
    on_when GGML_AVX512 avx512f avx512cd avx512vl avx512dq avx512bw
    on_when GGML_AVX512_VBMI avx512f avx512vbmi
    on_when GGML_AVX512_VNNI avx512f avx512_vnni
    on_when GGML_AVX512_BF16 avx512f avx512_bf16
  fi
  echo "$flags -DGGML_OPENMP=OFF -DLLAVA_BUILD=OFF"
}

# Turns a ninja build log into one moving line on a terminal, or a line per tenth otherwise.
show_progress() {
  local line shown=-1 tenth start=$SECONDS
  while IFS= read -r line; do
    [[ $line =~ ^[[:space:]]*\[([0-9]+)/([0-9]+)\] ]] || continue
    local n=${BASH_REMATCH[1]} of=${BASH_REMATCH[2]}
    if [[ -t 2 ]]; then
      printf '\rsetup: building ggml %3d/%d, %d s ' "$n" "$of" $((SECONDS - start)) >&2
    elif tenth=$((n * 10 / of)); ((tenth > shown)); then
      shown=$tenth
      say "building ggml $n/$of, $((SECONDS - start)) s"
    fi
  done
  [[ ! -t 2 ]] || echo >&2
}

source_package() {  # prints the unpacked source folder; downloads it once, checked by hash
  local pin folder
  pin=$(sed -n 's/^llama-cpp-python==\([0-9.]*\).*/\1/p' tools/requirements/ggml.txt)
  folder=$CACHE/src/llama_cpp_python-$pin
  if [[ ! -e $folder/.unpacked ]]; then
    say "downloading the llama.cpp source package (77 MB)"
    mkdir -p "$CACHE/src" "$CACHE/logs"
    PIP_CONSTRAINT=$PWD/tools/requirements/build-constraints.txt $PIP download -q --no-deps \
      --no-binary llama-cpp-python --require-hashes -r tools/requirements/ggml.txt \
      -d "$CACHE/src" >"$CACHE/logs/source.log" 2>&1 ||
      { tail -n 20 "$CACHE/logs/source.log" >&2; die "cannot get the source package"; }
    tar -xzf "$folder.tar.gz" -C "$CACHE/src"
    touch "$folder/.unpacked"
  fi
  echo "$folder"
}

build_wheel() {  # build_wheel FLAGS FOLDER: leaves one wheel in FOLDER
  local flags=$1 wheels=$2 source log=$CACHE/logs/ggml.log
  source=$(source_package)
  if command -v ccache >/dev/null; then
    flags+=" -DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache"
  fi
  say "building ggml and libllama from source (once; about 4 minutes on 2 cores)"
  mkdir -p "$wheels.partial" "$CACHE/logs"
  # A fixed build folder lets an interrupted build go on where it stopped.
  if ! CMAKE_ARGS=$flags CMAKE_BUILD_PARALLEL_LEVEL=$JOBS \
      PIP_CONSTRAINT=$PWD/tools/requirements/build-constraints.txt \
      $PIP wheel -v --no-deps -w "$wheels.partial" \
      --config-settings=build-dir="$(realpath "$CACHE")/ggml-build/$(basename "$wheels")" \
      "$source" 2>&1 | tee "$log" | show_progress; then
    tail -n 30 "$log" >&2
    die "the ggml build failed; the whole log is $log"
  fi
  mv -T "$wheels.partial" "$wheels"
}

setup_ggml() {
  if [[ -n ${FIELDPRINT_LLAMA_PREFIX:-} ]]; then
    [[ -d $FIELDPRINT_LLAMA_PREFIX ]] || die "FIELDPRINT_LLAMA_PREFIX: no such folder"
    return
  fi
  local flags identity stamp=.venv/fieldprint-ggml.stamp key
  flags=$(ggml_flags)
  identity="$(sed -n 's/^\(llama-cpp-python==[0-9.]*\).*/\1/p' tools/requirements/ggml.txt) $flags"
  [[ -e $stamp && $(<"$stamp") == "$identity" ]] && return
  key=$(sha256sum <<<"$identity $(g++ -dumpfullversion)" | cut -c1-16)
  local wheels=$CACHE/wheels/$key
  compgen -G "$wheels/llama_cpp_python-*.whl" >/dev/null || build_wheel "$flags" "$wheels"
  say "installing ggml into .venv"
  $PIP install -q --no-deps --no-index --force-reinstall "$wheels"/llama_cpp_python-*.whl
  echo "$identity" >"$stamp"
}

# --- models and test tools ---------------------------------------------------------------------
setup_test_python() {
  local stamp=.venv/fieldprint-test.stamp
  [[ -e $stamp ]] && cmp -s tools/requirements/test.txt "$stamp" && return
  say "installing the Python clients of the end-to-end suite"
  $PIP install -q --no-deps -r tools/requirements/test.txt
  cp tools/requirements/test.txt "$stamp"
}

case $MODE in
  run | test) ;;
  source) setup_venv; source_package; exit ;;  # for tools/build-llama-bench.sh
  *) die "usage: tools/setup.sh [run|test]" ;;
esac
setup_packages
setup_venv
setup_ggml
python3 tools/fetch_model.py smollm2-135m
if [[ $MODE == test ]]; then
  python3 tools/fetch_model.py gemma3-270m
  setup_test_python
fi
