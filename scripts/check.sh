#!/usr/bin/env bash
# What must hold before a change lands, besides the tests.
#
#   ADVISORY_DB=DIR  a copy of the RustSec advisory database (a folder with
#                    crates/), for places without network; else it is fetched.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
need_rust
cargo_tool deny
cargo_tool audit

advisories() {
  if [ -n "${ADVISORY_DB:-}" ]; then
    [ -d "$ADVISORY_DB/crates" ] || die "ADVISORY_DB=$ADVISORY_DB has no folder crates/"
    cargo audit --db "$ADVISORY_DB" --no-fetch --stale
  else
    cargo audit
  fi
}

failures=()
step() { timed "$@" || failures+=("$1"); }
step "format" cargo fmt --all --check
step "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings
step "rustdoc" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
step "licences, bans, sources" cargo deny --workspace check licenses bans sources
step "advisories" advisories

if [ ${#failures[@]} -gt 0 ]; then
  for title in "${failures[@]}"; do say "check failed: $title"; done
  exit 1
fi
say "check: every step passed"
