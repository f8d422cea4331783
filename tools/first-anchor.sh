#!/usr/bin/env bash
# Gives the first `make run` an identity by authority: a trust root of one's own, and the example
# anchor compiled, calibrated, signed and promoted under it. Leaves every trust root alone that it
# did not make.
#
# usage: tools/first-anchor.sh PROGRAM MODEL.gguf TEXT
set -euo pipefail
program=$1 model=$2 text=$3
state=${FIELDPRINT_STATE_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/fieldprint}
say() { "$program" anchor "$@" | sed '/^next:/,$d'; }  # the next step is taken here
unfinished=$state/first-anchor-unfinished  # an interrupted first run goes on where it stopped

if [[ ! -e $state/trust ]]; then
  say init
  touch "$unfinished"
fi
[[ -e $unfinished ]] || exit 0
name=$(basename "$text" .txt)
[[ -e $state/trust/anchors/$name ]] || say compile --model "$model" --text "$text"
folder=$state/trust/anchors/$name
if [[ ! -e $folder/model.sig ]]; then
  # About a minute, once: what supervision has to know must be there before the signature.
  [[ -e $folder/supervision.json ]] || say calibrate "$name" --model "$model"
  say sign "$name"
fi
say promote "$name"
rm "$unfinished"
echo
