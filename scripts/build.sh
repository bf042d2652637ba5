#!/usr/bin/env bash
# Builds the three programs in the dev profile, which the tests share.
# On a terminal cargo draws its own progress bar; elsewhere (logs, CI) one line
# appears every twenty crates.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
need_rust

build=(cargo build --workspace --bins)
if [ -t 2 ]; then
  "${build[@]}"
else
  total=$(cargo tree --workspace --prefix none --edges normal,build 2>/dev/null | awk '{print $1, $2}' | sort -u | wc -l)
  built=0
  "${build[@]}" 2>&1 | while IFS= read -r line; do
    case "$line" in
      *Compiling\ * | *Checking\ *)
        built=$((built + 1))
        [ $((built % 20)) -ne 0 ] || say "building: $built of about $total crates"
        ;;
      *Downloading\ * | *Downloaded\ *) ;;
      *) say "$line" ;;
    esac
  done
fi
