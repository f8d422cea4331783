#!/usr/bin/env bash
# Builds llama-bench and llama-batched-bench from the same source package as the ggml that
# Fieldprint runs on, and links them with the same shared objects, into .cache/llama-bench/.
# With FIELDPRINT_LLAMA_PREFIX the programs of that install are linked there instead.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

CACHE=${FIELDPRINT_CACHE:-.cache}
OUT=.cache/llama-bench
mkdir -p "$OUT"

if [[ -n ${FIELDPRINT_LLAMA_PREFIX:-} ]]; then
  for program in llama-bench llama-batched-bench; do
    [[ -x $FIELDPRINT_LLAMA_PREFIX/bin/$program ]] ||
      { echo "$FIELDPRINT_LLAMA_PREFIX/bin/$program is missing" >&2; exit 1; }
    ln -sf "$FIELDPRINT_LLAMA_PREFIX/bin/$program" "$OUT/$program"
  done
  exit
fi

LIB=$(echo "$PWD"/.venv/lib/python3*/site-packages/lib)
[[ -e $LIB/libllama-common.so ]] || { echo "no ggml in .venv: run make setup" >&2; exit 1; }
identity="$(cat .venv/fieldprint-ggml.stamp) in $LIB"
[[ -e $OUT/stamp && $(<"$OUT/stamp") == "$identity" ]] && exit

source=$(tools/setup.sh source)/vendor/llama.cpp
compiler=(g++)
command -v ccache >/dev/null && compiler=(ccache g++)

build() {  # build PROGRAM FOLDER SOURCE
  echo "building $1" >&2
  local file
  for file in "$3" main; do
    "${compiler[@]}" -std=c++17 -O3 -DNDEBUG -w -I"$source/common" -I"$source/include" \
      -I"$source/ggml/include" -I"$source/vendor" -I"$source/tools/$2" \
      -c "$source/tools/$2/$file.cpp" -o "$OUT/$1-$file.o"
  done
  # libllama-common has no run path of its own: name every library in the program itself.
  g++ "$OUT/$1-$3.o" "$OUT/$1-main.o" -o "$OUT/$1" -L"$LIB" -Wl,-rpath,"$LIB" -pthread \
    -Wl,--no-as-needed -lllama-common -lllama -lggml -lggml-cpu -lggml-base
  rm "$OUT/$1-$3.o" "$OUT/$1-main.o"
}
build llama-bench llama-bench llama-bench
build llama-batched-bench batched-bench batched-bench
echo "$identity" >"$OUT/stamp"
