#!/usr/bin/env bash
# Installs target/debian/*.deb in a clean Debian with systemd, and runs the five
# commands of README.md there, as they stand in it. Then upgrade, removal and
# purge. Needs root and Docker (`docker import` of what debootstrap makes; no
# image is pulled). Nothing in the container reaches a network.
#
# The first run makes the roots in target/deb-test (minutes); they are kept.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

work="$PWD/$target_dir/deb-test"
debs="$PWD/$target_dir/debian"
mirror="${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:?}") # what the programs were built on
clean=holdfast-deb-test:clean machine=holdfast-deb-test:machine
name=holdfast-deb-test-$$

[ "$(id -u)" -eq 0 ] || die "deb-test makes a root directory: run it as root"
docker info >/dev/null 2>&1 || die "deb-test needs Docker, and its daemon does not answer"
ls "$debs"/holdfast-{attester,verifier}_*.deb >/dev/null || die "no packages: make deb"
[ -x "$target_dir/debug/holdfast-sim" ] || die "no simulated gateway: make build"

# ---- two roots: a clean one, and one with a software TPM

# What the packages depend on waits in apt's cache, by apt's own resolution: the
# installation itself has no network.
in_root() { chroot "$work/root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"; }
make_roots() {
  rm -rf "$work"
  mkdir -p "$work"
  debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,sudo,ca-certificates \
    "$suite" "$work/root" "$mirror"
  cp "$debs"/*.deb "$work/root/tmp/"
  in_root apt-get update
  in_root sh -c 'apt-get install -y --no-install-recommends --download-only /tmp/holdfast-*.deb'
  rm "$work/root/tmp/"*.deb
  tar -C "$work/root" -c . | docker import -c 'CMD ["/sbin/init"]' - "$clean" >/dev/null
  in_root apt-get install -y --no-install-recommends swtpm swtpm-tools libtss2-esys-3.0.2-0 libtss2-tctildr0
  tar -C "$work/root" -c . | docker import - "$machine" >/dev/null
  rm -rf "$work/root"
  stamp >"$work/stamp"
}
# Made anew where the packages depend on something else.
stamp() {
  echo "$suite"
  for deb in "$debs"/*.deb; do dpkg-deb -f "$deb" Depends; done
}
if [ "$(cat "$work/stamp" 2>/dev/null)" != "$(stamp)" ] ||
  ! docker image inspect "$clean" "$machine" >/dev/null 2>&1; then
  mkdir -p "$target_dir"
  timed "clean Debian $suite (log in $target_dir/deb-test.log)" make_roots \
    >"$target_dir/deb-test.log" 2>&1 || die "$(tail -n 5 "$target_dir/deb-test.log")"
fi

# ---- the gateway's TPM, its vendor and its boot log; then the machine

share=$(mktemp -d)
cleanup() {
  local code=$?
  if [ "$code" -ne 0 ]; then
    docker exec "$name" journalctl --no-pager -n 60 -u 'holdfast-*' 2>/dev/null || true
    docker logs "$name-tpm" 2>&1 | tail -n 20 || true
  fi
  docker rm -f "$name" "$name-tpm" >/dev/null 2>&1 || true
  rm -rf "$share"
}
trap cleanup EXIT

docker run -d --name "$name-tpm" --network none --add-host verifier.example.org:127.0.0.1 \
  -v "$share:/gw" -v "$PWD/$target_dir/debug/holdfast-sim:/usr/bin/holdfast-sim:ro" "$machine" \
  holdfast-sim gateway --dir /gw/gateway --tcp 127.0.0.1:2321 >/dev/null
for _ in $(seq 100); do
  [ -s "$share/gateway/gateway.json" ] && break
  sleep 0.1
done
field() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" "$share/gateway/gateway.json"; }
[ -n "$(field vendor_root)" ] || die "the simulated gateway did not start"

docker run -d -t --name "$name" --network "container:$name-tpm" -e container=docker \
  --cap-add SYS_ADMIN --device-cgroup-rule 'c 10:* rw' --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
  --tmpfs /run --tmpfs /tmp -v /sys/fs/cgroup:/sys/fs/cgroup:rw \
  -v "$share:/gw:ro" -v "$debs:/debs:ro" "$clean" >/dev/null
there() { docker exec -w /root -e DEBIAN_FRONTEND=noninteractive "$name" bash -euo pipefail -c "$1"; }
for _ in $(seq 200); do
  there 'systemctl is-system-running' 2>/dev/null | grep -Eq 'running|degraded' && break
  sleep 0.1
done
there 'hostname localhost' # sudo looks it up
# systemd does so itself, but not in a container; credentials come by it.
there 'mount --make-rshared /'
say "machine: systemd is $(there 'systemctl is-system-running' || true)"

# The daemon has the state directory while it attests.
patiently='patiently() { for _ in $(seq 50); do "$@" && return; sleep 0.2; done; return 1; }
'
expect() { # expect WHAT COMMAND: the command succeeds in the machine
  there "$2" || die "not so: $1"
  say "  ok: $1"
}

# ---- the five commands, in a directory where their files are

there "cp /debs/*.deb . && cp '$(field vendor_root)' vendor-cas.pem"
there "cp '$(field reference_values)' golden.json"
mapfile -t commands < <(scripts/five-commands.sh)
[ ${#commands[@]} -eq 5 ] || die "README.md has ${#commands[@]} commands, not 5"
for command in "${commands[@]}"; do
  say "\$ $command"
  began=$SECONDS
  there "$command" >"$share/said" 2>&1 || { cat "$share/said"; die "that command failed"; }
  sed 's/^/    /' "$share/said" | tail -n 5
  say "  ($((SECONDS - began)) s)"
  case "$command" in
    *holdfast-verifier_*)
      expect "no verifier runs before it is made" '! systemctl is-active --quiet holdfast-verifier'
      ;;
    *holdfast-attester_*)
      # This machine's TPM is a software one, and its log is elsewhere.
      # The log gets the owner and mode that tmpfiles.d gives the kernel's.
      there "install -m 0440 -o root -g tss '$(field boot_log)' /opt/boot.log
        sed -i '1i tcti = \"$(field tcti)\"\nboot_log = \"/opt/boot.log\"' /etc/holdfast/attester.toml"
      ;;
  esac
done

enrolled='holdfast-verifier gateway list --json | grep -q "\"state\": *\"active\""'
expect "the verifier runs under systemd, ready" 'systemctl show -p ActiveState -p SubState -p Type --value holdfast-verifier | tr "\n" " " | grep -q "notify active running"'
expect "as its own account" '[ "$(stat -c %U /proc/"$(systemctl show -p MainPID --value holdfast-verifier)")" = holdfast-verifier ]'
expect "the gateway is enrolled: the verifier says so" "$enrolled"
expect "and the gateway says so" 'holdfast-attester status --remote'
expect "the state is the account's" '[ "$(stat -c %U:%a /var/lib/holdfast/state.json)" = holdfast:600 ]'
expect "the daemon has started by itself, and attests" '
  for _ in $(seq 100); do
    journalctl -u holdfast-attester | grep -q affirmed && break
    sleep 0.1
  done
  systemctl is-active --quiet holdfast-attester
  journalctl -u holdfast-attester | grep -q affirmed'
expect "root and the account both attest beside it" "$patiently"'
  patiently holdfast-attester attest --renew
  patiently runuser -u holdfast -- holdfast-attester attest'
expect "manual pages of every command are there" 'ls /usr/share/man/man1/holdfast-verifier-token-create.1.gz /usr/share/man/man1/holdfast-attester-enroll.1.gz >/dev/null'
expect "a passphrase from the credential store reaches the service" '
  install -d -m 0700 /etc/credstore
  (umask 077; echo "correct horse" >/etc/credstore/holdfast-ca-passphrase)
  systemctl restart holdfast-verifier
  [ "$(cat /run/credentials/holdfast-verifier.service/holdfast-ca-passphrase)" = "correct horse" ]
  [ "$(stat -c %U:%a /run/credentials/holdfast-verifier.service/holdfast-ca-passphrase)" = holdfast-verifier:400 ]'
there 'rm -r /etc/credstore; systemctl restart holdfast-verifier'

# shellcheck source=scripts/deb-test-units.sh
. scripts/deb-test-units.sh

# ---- upgrade, removal, purge

say "upgrade, removal, purge"
expect "an upgrade keeps state, settings and the running service" "
  before=\$(sha256sum /var/lib/holdfast/ldevid.pem /etc/holdfast/*.toml)
  pid=\$(systemctl show -p MainPID --value holdfast-verifier)
  dpkg -i ./holdfast-*.deb >/dev/null
  [ \"\$before\" = \"\$(sha256sum /var/lib/holdfast/ldevid.pem /etc/holdfast/*.toml)\" ]
  systemctl is-active --quiet holdfast-verifier holdfast-attester
  [ \"\$pid\" != \"\$(systemctl show -p MainPID --value holdfast-verifier)\" ]
  $enrolled"
expect "maintainer scripts can run again" '
  for package in attester verifier; do
    /var/lib/dpkg/info/holdfast-$package.postinst configure 0.1.0-1
  done'
expect "removal stops the service and keeps state" '
  apt-get remove -y holdfast-attester holdfast-verifier >/dev/null
  ! systemctl is-active --quiet holdfast-verifier
  ! systemctl is-active --quiet holdfast-attester
  test -s /var/lib/holdfast/state.json -a -s /var/lib/holdfast-verifier/holdfast.db -a -s /etc/holdfast/attester.toml
  test ! -e /usr/bin/holdfast-verifier'
expect "installed again, it goes on where it was" "$patiently
  apt-get install -y ./holdfast-*.deb >/dev/null
  systemctl is-active --quiet holdfast-verifier
  $enrolled
  systemctl is-active --quiet holdfast-attester
  patiently holdfast-attester attest"
expect "purge leaves nothing" '
  apt-get purge -y holdfast-attester holdfast-verifier >/dev/null
  left=$(find / -xdev -name "*holdfast*" -not -path "/proc/*" -not -path "/root/*" -not -path "/var/cache/apt/*" -not -path "/run/*" -not -path "/tmp/*" -not -path "/var/log/*")
  echo "$left"
  [ -z "$left" ]'
say "deb-test: a gateway was enrolled by README's five commands, and everything was taken away again, in $SECONDS s"
