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
  "${build[@]}" 2>&1 | awk -v total="$total" '
    $1 == "Compiling" || $1 == "Checking" {
      if (++n % 20 == 0) { printf "building: %d of about %d crates\n", n, total; fflush() }
      next
    }
    $1 == "Downloading" || $1 == "Downloaded" { next }
    { print; fflush() }'
fi
