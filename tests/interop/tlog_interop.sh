#!/usr/bin/env bash
# Lets golang.org/x/mod judge our logs:
# tlog_interop.sh GO-SOURCES EMIT_LOG JUDGE_CASES EMIT_LEDGER WORK-FOLDER
# The folder keeps Go's build cache; everything else in it is made anew. Without Go: exit code 77,
# which ctest shows as skipped; under CI it is a failure.
set -euo pipefail
sources=$1 emit_log=$2 judge_cases=$3 emit_ledger=$4 work=$5
if ! command -v go >/dev/null; then
  echo 'go is missing: apt-get install golang-go golang-golang-x-mod-dev' >&2
  [[ -n ${CI:-} ]] && exit 1
  exit 77
fi
mkdir -p "$work"
rm -rf "$work/log" "$work/real" "$work/cases.txt"
# Debian installs Go libraries as a GOPATH; nothing is fetched.
(cd "$sources" &&
  GO111MODULE=off GOPATH=${FIELDPRINT_GOPATH:-/usr/share/gocode} GOCACHE="$work/gocache" \
    GOFLAGS= CGO_ENABLED=0 go build -trimpath -o "$work/tlogverify" .)
"$emit_log" "$work/log"
"$work/tlogverify" log "$work/log" "$(<"$work/log/log.vkey")" "$(<"$work/log/witness.vkey")"
"$work/tlogverify" proofs "$work/log/proofs.txt"
"$judge_cases" "$work/cases.txt" ${FIELDPRINT_JUDGE_COUNT:-}
"$work/tlogverify" judge "$work/cases.txt"
"$emit_ledger" "$work/real"
"$work/tlogverify" log "$work/real/ledger" "$(<"$work/real/log.vkey")" \
  "$(<"$work/real/cosigner.vkey")"
# A verifier that accepts everything would pass all of the above.
printf 'x' | dd of="$work/log/tile/0/100" bs=1 seek=4000 conv=notrunc 2>/dev/null
if "$work/tlogverify" log "$work/log" "$(<"$work/log/log.vkey")" 2>/dev/null; then
  echo 'a changed tile was accepted' >&2
  exit 1
fi
rm -rf "$work/log" "$work/real"
