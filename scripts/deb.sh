#!/usr/bin/env bash
# Builds holdfast-attester and holdfast-verifier as Debian packages, with units,
# manual pages, completions and sample settings, in target/debian.
#
#   scripts/deb.sh              release profile
#   DEB_PROFILE=dev scripts/deb.sh   from what `make build` built: quick, large
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
need_rust

profile="${DEB_PROFILE:-release}"
out="$target_dir/debian"
parts="$target_dir/deb" # what Cargo.toml's assets name
case "$profile" in
  release) built=release ;;
  dev) built=debug ;;
  *) die "DEB_PROFILE is release or dev, not '$profile'" ;;
esac
[ "$target_dir" = target ] || die "packages are built in target/: unset CARGO_TARGET_DIR"
command -v cargo-deb >/dev/null 2>&1 || die "cargo-deb is missing: scripts/setup.sh --packaging"

timed "programs ($profile)" cargo build --locked --profile "$profile" \
  -p holdfast-attester -p holdfast-verifier --bins
rm -rf "$parts"
timed "manual pages and completions" \
  cargo run --quiet --locked -p holdfast-integration --example manual -- "$parts"

version=$(sed -n 's/^version *= *"\(.*\)"/\1/p' Cargo.toml | head -n 1)
date=$(date --utc --rfc-email --date="@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}")
for package in attester verifier; do
  # lintian wants the distribution's form; what changed is told in CHANGELOG.md.
  {
    echo "holdfast-$package ($version-1) unstable; urgency=medium"
    echo
    echo "  * Version $version; what changed is told in CHANGELOG.md."
    echo
    echo " -- The Holdfast authors <packages@holdfast.invalid>  $date"
  } >"$parts/$package.changelog"
  mkdir -p "$parts/bin"
  install -m 0755 "$target_dir/$built/holdfast-$package" "$parts/bin/"
  strip --strip-unneeded "$parts/bin/holdfast-$package"
done

mkdir -p "$out"
rm -f "$out"/holdfast-*.deb
for package in attester verifier; do
  timed "holdfast-$package.deb" cargo deb --quiet --locked --no-build --no-strip \
    -p "holdfast-$package" --output "$out/"
done
ls -l "$out"/*.deb

# This package has no history at Debian, and no bug there to close.
if command -v lintian >/dev/null 2>&1; then
  timed "lintian" lintian --fail-on error,warning \
    --suppress-tags initial-upload-closes-no-bugs "$out"/*.deb
fi
