#!/usr/bin/env bash
# Installs what building and testing Holdfast needs and this machine lacks.
# Idempotent; takes a fraction of a second where nothing is missing.
#
#   scripts/setup.sh            what `make build` and `make demo` need
#   scripts/setup.sh --interop  also what the tests use as independent oracles
#   scripts/setup.sh --packaging  also what `make deb` and `make deb-test` need
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

# What each package is for: the text after the colon is shown on failure.
packages=(
  "gcc:C compiler, for ring and the bundled SQLite"
  "libc6-dev:C headers, for ring and the bundled SQLite"
  "pkg-config:finds the TPM libraries at build time"
  "libtss2-dev:TPM 2.0 software stack (ESAPI), linked by the attester"
  "libtss2-tcti-swtpm0:lets the TPM stack talk to swtpm"
  "libtss2-tcti-device0:lets the TPM stack talk to /dev/tpmrm0"
  "swtpm:the software TPM"
  "swtpm-tools:makes a new software TPM (swtpm_setup)"
  "tpm2-tools:checks quotes independently of our code"
  "openssl:checks certificates independently of our code"
  "ca-certificates:lets cargo reach crates.io"
)
# Used by integration tests alone; a test that lacks its oracle says so and is
# counted as skipped.
interop=(
  "python3-grpcio:an independent gRPC client"
  "python3-protobuf:an independent Protocol Buffers runtime"
  "protobuf-compiler:makes the Python messages from our .proto files"
  "ima-evm-utils:a second reader of IMA logs, and signer of files (evmctl)"
  "python3-jwt:a second reader of results as JWT (PyJWT)"
  "python3-cbor2:a second reader of results as CWT"
  "python3-cryptography:checks their signatures"
  "libssl-dev:the ear crate, another reader of results, links it"
  "gnutls-bin:a second X.509 implementation (certtool)"
  "softhsm2:a PKCS#11 token in software, for the issuing key"
  "opensc:looks into that token independently of our code (pkcs11-tool)"
  "tpm2-openssl:lets OpenSSL use the LDevID key in the TPM"
  "nginx-light:a TLS server with the LDevID, and one that requires LDevIDs"
  "curl:a TLS client with the LDevID"
  "tpm2-abrmd:a resource manager before swtpm, for TLS clients"
  "libtss2-tcti-tabrmd0:lets the TPM stack talk to tpm2-abrmd"
  "dbus-daemon:the message bus that tpm2-abrmd is on"
)
packaging=(
  "dpkg-dev:finds which libraries a package depends on (dpkg-shlibdeps)"
  "binutils:takes debug symbols out (strip)"
  "lintian:looks over the packages"
  "debootstrap:makes a clean Debian to install them in"
)
# Kept in ~/.cargo/bin; another version is replaced.
cargo_deb_version=3.8.0
case "${1:-}" in
  '') ;;
  --interop) packages+=("${interop[@]}") ;;
  --packaging) packages+=("${packaging[@]}") ;;
  *) die "setup.sh knows --interop and --packaging, not '$1'" ;;
esac

is_installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

install_missing() {
  local missing=() entry name
  for entry in "${packages[@]}"; do
    name=${entry%%:*}
    is_installed "$name" || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] && return 0

  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 ||
      die "these Debian packages are missing, and there is no sudo to install them with: ${missing[*]}
       As root: apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
    as_root=(sudo)
  fi
  say "setup: installing Debian packages${as_root:+ (with sudo)}: ${missing[*]}"

  mkdir -p "$target_dir"
  local log="$target_dir/setup.log"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -q)
  "${apt[@]}" update </dev/null >"$log" 2>&1 ||
    say "setup: apt-get update failed (see $log); trying with the package lists as they are"
  if ! "${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null >>"$log" 2>&1; then
    # Once more, one by one, so that the culprit has a name.
    local failed=()
    for name in "${missing[@]}"; do
      "${apt[@]}" install -y --no-install-recommends "$name" </dev/null >>"$log" 2>&1 || failed+=("$name")
    done
    report_failures "$log" "${failed[@]}"
  fi
}

# report_failures LOG PACKAGE…: what failed, what it was for, where to look.
# An oracle that cannot be had is worth a warning; anything else ends here.
report_failures() {
  local log=$1 name entry fatal=0
  shift
  for name in "$@"; do
    for entry in "${packages[@]}"; do
      [ "${entry%%:*}" = "$name" ] && say "setup: could not install $name (${entry#*:})"
    done
    case " ${interop[*]%%:*} " in
      *" $name "*) ;;
      *) fatal=1 ;;
    esac
  done
  [ "$fatal" -eq 0 ] || die "setup is incomplete; apt-get's own words are in $log:
$(tail -n 5 "$log" | sed 's/^/       /')"
}

if command -v dpkg-query >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1; then
  install_missing
else
  for command in cc pkg-config swtpm swtpm_setup tpm2_checkquote openssl; do
    command -v "$command" >/dev/null 2>&1 ||
      die "$command is missing, and this is not a Debian system: install the equivalents of
       ${packages[*]%%:*}"
  done
fi
need_rust

# The tests themselves use no network: what one of them compiles is fetched now.
if [ "${1:-}" = --interop ] && command -v cargo >/dev/null 2>&1; then
  cargo fetch --quiet --locked --manifest-path integration/oracle-ear/Cargo.toml ||
    say "setup: could not fetch the ear crate (another reader of results)"
fi

have=$(cargo-deb --version 2>/dev/null) || have=
if [ "${1:-}" = --packaging ] && [ "${have##* }" != "$cargo_deb_version" ]; then
  say "setup: installing cargo-deb $cargo_deb_version from crates.io (once, some minutes)"
  # Beside the project's own target directory, so that neither spoils the other.
  CARGO_TARGET_DIR="$target_dir/cargo-deb" cargo install --quiet --locked --force \
    --version "$cargo_deb_version" cargo-deb
fi
