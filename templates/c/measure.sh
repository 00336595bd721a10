#!/bin/sh
# Judges and times the candidates of this folder, in turns, each in a process of its own.
# Prints results as JSON on standard output, progress on standard error.
#
#   ./measure > results.json
#   SLUICE_RUN_UNDER="qemu-aarch64 -L /usr/aarch64-linux-gnu" ./measure > results.json
#
# Needs a Linux with glibc, of the architecture that the candidates are for; nothing else.
set -u
cd "$(dirname "$0")" || exit 1
under=${SLUICE_RUN_UNDER:-}
total=$(wc -l < candidates.txt)
separator=
failed=" "
printf '{"format":"{{format}}","search":"{{search}}","runs":['
round=0
while [ "$round" -lt {{rounds}} ]; do
  count=0
  while read -r name; do
    count=$((count + 1))
    # What failed once has no further turn.
    case $failed in *" $name "*) continue ;; esac
    echo "round $((round + 1)) of {{rounds}}, candidate $count of $total: $name" >&2
    set -- "candidates/$name.so" cases.bin --kernel "$name" --timed {{timed}} \
      --time {{milliseconds}} --limit {{limit}} --round "$round" --search {{search}}
    [ -z "$under" ] || set -- "$@" --under "${under%% *}"
    line=$($under ./measure-candidate "$@" < /dev/null)
    code=$?
    if [ -z "$line" ]; then
      # It took the process with it without a word.
      line=$($under ./measure-candidate "$@" --died "$code" < /dev/null)
    fi
    if [ -z "$line" ]; then
      echo "measure: measure-candidate does not run on this machine." >&2
      exit 1
    fi
    case $line in *'"status":"ok"'*) ;; *) failed="$failed$name " ;; esac
    printf '%s\n%s' "$separator" "$line"
    separator=,
  done < candidates.txt
  round=$((round + 1))
done
printf '\n]}\n'
