#!/usr/bin/env bash
# Shows a ninja build as one moving line on a terminal, and as one line per fifth of the work
# otherwise. Whatever is not progress (warnings, errors) passes through unchanged.
set -euo pipefail
name=$1 shown=-1 moved=0
while IFS= read -r line; do
  if [[ $line =~ ^\[([0-9]+)/([0-9]+)\]\ (.*) ]]; then
    n=${BASH_REMATCH[1]} of=${BASH_REMATCH[2]}
    if [[ -t 1 ]]; then
      printf '\r\033[Kbuild %s: %d/%d %.60s' "$name" "$n" "$of" "${BASH_REMATCH[3]}"
      moved=1
    elif fifth=$((n * 5 / of)); ((fifth > shown)); then
      shown=$fifth
      echo "build $name: $n/$of"
    fi
  else
    ((moved)) && echo && moved=0
    echo "$line"
  fi
done
if ((moved)); then printf '\r\033[K'; fi
