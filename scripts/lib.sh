# shellcheck shell=bash disable=SC2034
# Shared by the scripts beside it; sourced, never run.
# Sets the working directory to the project's top.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

# rustup's default place, for shells that were opened before it was installed.
case ":$PATH:" in
  *":${CARGO_HOME:-$HOME/.cargo}/bin:"*) ;;
  *) PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin" ;;
esac
export PATH

target_dir="${CARGO_TARGET_DIR:-target}"

say() { printf '%s\n' "$*"; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# timed TITLE COMMAND…: announces a step, runs it, and says how long it took.
timed() {
  local title=$1 began=$SECONDS
  shift
  say "── $title"
  if "$@"; then
    say "── $title: done in $((SECONDS - began)) s"
  else
    local code=$?
    say "── $title: FAILED (exit $code) after $((SECONDS - began)) s"
    return "$code"
  fi
}

need_rust() {
  local wanted have
  wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml | head -n 1)
  if ! command -v cargo >/dev/null 2>&1; then
    die "Rust is missing (cargo is not on PATH). Holdfast needs Rust $wanted or newer.
       Install it with rustup, from https://rustup.rs :
         curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh
       then open a new shell (or: . \"\$HOME/.cargo/env\") and run make again."
  fi
  have=$(rustc --version | sed -n 's/^rustc \([0-9.]*\).*/\1/p')
  if [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n 1)" != "$wanted" ]; then
    die "Rust $have is too old: Holdfast needs $wanted or newer. Try: rustup update stable"
  fi
}

# cargo_tool NAME: makes `cargo NAME` work, compiling it from crates.io once.
cargo_tool() {
  command -v "cargo-$1" >/dev/null 2>&1 && return 0
  say "cargo-$1 is missing: installing it once from crates.io (some minutes)"
  cargo install --quiet --locked "cargo-$1"
}
