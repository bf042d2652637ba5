# shellcheck shell=bash disable=SC2154
# Sourced by deb-test.sh, in its machine with an enrolled gateway: what systemd
# itself does with the units. `there`, `expect` and `patiently` are
# deb-test.sh's.

# hears UNIT WORDS SINCE: waits until the unit's journal has them.
hears='hears() { for _ in $(seq 150); do
    journalctl --no-pager -q -u "$1" --since "$3" | grep -q -- "$2" && return; sleep 0.2
  done; journalctl --no-pager -q -u "$1" --since "$3" | tail -n 20; return 1; }
'
daemon=holdfast-attester.service
pid_of='pid_of() { systemctl show -p MainPID --value "$1"; }
'

say "the daemon under systemd"
expect "the daemon is up, as told by itself, from its own account" "$pid_of
  systemctl show -p Type -p ActiveState -p SubState --value $daemon | tr '\n' ' ' | grep -q 'notify active running'
  systemctl show -p StatusText --value $daemon | grep -q '^trusted; '
  [ \"\$(stat -c %U /proc/\"\$(pid_of $daemon)\")\" = holdfast ]"
expect "its status socket is for its group" '
  [ "$(stat -c %U:%G:%a /run/holdfast-attester)" = holdfast:holdfast:750 ]
  [ "$(stat -c %a /run/holdfast-attester/status.sock)" = 660 ]
  holdfast-attester status | grep -q trusted'
expect "exposure by systemd-analyze" '
  systemd-analyze security --no-pager --threshold=35 holdfast-attester | tail -n 1
  systemd-analyze security --no-pager --threshold=25 holdfast-verifier | tail -n 1'

# ---- the sandbox in force: a probe that runs as the unit's programs do
#
# /dev/tpmrm0 is another device here (the kernel has no TPM): what counts is that
# this node opens and others of the same mode do not.

there '
  mknod -m 0660 /dev/tpmrm0 c 10 237 && chgrp tss /dev/tpmrm0
  mknod -m 0660 /dev/probe c 10 229 && chgrp tss /dev/probe
  install -d -m 0777 /opt/open
  cat >/opt/probe <<"PROBE"
#!/bin/bash
failed=0
no() { echo "not so: $1"; failed=1; }
has() { grep -Eq "^$1:[[:space:]]*$2\$" /proc/self/status; }
opens() { perl -e "sysopen(F, shift, 0) or die qq(\$!\n)" "$1"; }
[ "$(id -un)" = holdfast ] || no "user holdfast"
has NoNewPrivs 1 || no "no new privileges"
has Seccomp 2 || no "filter of system calls"
has CapEff 0+ && has CapBnd 0+ || no "no capabilities"
opens /dev/tpmrm0 || no "the TPM opens"
opens /dev/probe 2>/dev/null && no "another device of the same mode is closed"
touch /opt/open/probe 2>/dev/null && no "the file system is read-only"
ls /root >/dev/null 2>&1 && no "no home directories"
[ -e /tmp/outside ] && no "a /tmp of its own"
touch /var/lib/holdfast/probe || no "its state directory is writable"
rm -f /var/lib/holdfast/probe
unshare --user true 2>/dev/null && no "no new namespaces"
perl -e "socket(S, 16, 3, 0) and exit 1" || no "no netlink sockets"
perl -e "socket(S, 2, 1, 0) or exit 1" || no "TCP sockets"
perl -e "setpriority(0, 0, 5) and exit 1" || no "no setpriority(2)"
[ "$failed" = 0 ] && echo "sandbox: all as it must be"
exit "$failed"
PROBE
  chmod 0755 /opt/probe; touch /tmp/outside'
expect "outside of it the probe fails (so that it proves something)" '
  ! runuser -u holdfast -- /opt/probe >/tmp/outside.log
  for words in "another device" "read-only" "filter of" "netlink" "setpriority"; do grep -q "not so.*$words" /tmp/outside.log; done'
expect "sandbox: capabilities, system calls, devices, files, sockets" "$hears"'
  install -d /etc/systemd/system/holdfast-attester.service.d
  printf "%s\n" "[Service]" "ExecStartPre=/opt/probe" >/etc/systemd/system/holdfast-attester.service.d/probe.conf
  systemctl daemon-reload
  since=$(date "+%F %T")
  systemctl restart holdfast-attester || true
  hears holdfast-attester "sandbox: all as it must be" "$since"
  rm /etc/systemd/system/holdfast-attester.service.d/probe.conf
  systemctl daemon-reload; systemctl is-active --quiet holdfast-attester'

# ---- watchdog

expect "the watchdog is kept; a daemon that hangs is started again" "$hears$pid_of"'
  printf "%s\n" "[Service]" "WatchdogSec=3" "RestartSec=1" "TimeoutAbortSec=5" \
    >/etc/systemd/system/holdfast-attester.service.d/watchdog.conf
  systemctl daemon-reload; systemctl restart holdfast-attester
  before=$(pid_of holdfast-attester); sleep 7
  [ "$(pid_of holdfast-attester)" = "$before" ]
  since=$(date "+%F %T")
  kill -STOP "$before"
  hears holdfast-attester "Watchdog timeout" "$since"
  for _ in $(seq 100); do
    systemctl is-active --quiet holdfast-attester && [ "$(pid_of holdfast-attester)" != "$before" ] && break
    sleep 0.2
  done
  systemctl is-active --quiet holdfast-attester
  [ "$(systemctl show -p NRestarts --value holdfast-attester)" = 1 ]
  rm /etc/systemd/system/holdfast-attester.service.d/watchdog.conf
  systemctl daemon-reload; systemctl restart holdfast-attester'

# ---- stopped is stopped

expect "restart: another process, and the path unit stays" "$pid_of"'
  before=$(pid_of holdfast-attester)
  systemctl restart holdfast-attester
  [ "$(pid_of holdfast-attester)" != "$before" ]
  systemctl is-active --quiet holdfast-attester holdfast-attester.path'
expect "reload: the same process" "$hears$pid_of"'
  before=$(pid_of holdfast-attester) since=$(date "+%F %T")
  systemctl reload holdfast-attester
  hears holdfast-attester "event=\"reloaded\"" "$since"
  [ "$(pid_of holdfast-attester)" = "$before" ]'
expect "reload of the verifier: the same process" "$pid_of"'
  before=$(pid_of holdfast-verifier)
  systemctl reload holdfast-verifier; sleep 1
  [ "$(pid_of holdfast-verifier)" = "$before" ] && holdfast-verifier gateway list >/dev/null'
expect "stopped, it stays so, also when the enrolment changes" "$patiently"'
  systemctl stop holdfast-attester
  patiently holdfast-attester attest --renew
  sleep 2
  ! systemctl is-active --quiet holdfast-attester'
expect "also over an upgrade" '
  dpkg -i ./holdfast-attester_*.deb >/dev/null
  sleep 1
  ! systemctl is-active --quiet holdfast-attester'
expect "started, it and its path unit are up" '
  systemctl start holdfast-attester
  systemctl is-active --quiet holdfast-attester holdfast-attester.path'
expect "disable --now takes the path unit along, enable --now brings it back" '
  systemctl disable --now holdfast-attester 2>/dev/null
  ! systemctl is-active --quiet holdfast-attester.path
  ! systemctl is-enabled --quiet holdfast-attester.path
  systemctl enable --now holdfast-attester 2>/dev/null
  systemctl is-active --quiet holdfast-attester.path'

# ---- heartbeats

expect "heartbeats, by the settings file" "$hears"'
  since=$(date "+%F %T")
  printf "%s\n" "[run]" "heartbeats = true" >>/etc/holdfast/attester.toml
  systemctl restart holdfast-attester
  hears holdfast-attester "event=\"beats-began\"" "$since"
  sleep 2
  ! journalctl -q -u holdfast-attester --since "$since" | grep beats-failed'

# ---- secrets at unit start

seal_dir=/var/lib/holdfast-verifier
as_verifier='runuser -u holdfast-verifier --'
expect "a secret is sealed to boot states that the owner approved" "$patiently
  $as_verifier holdfast-verifier seal delegate --dir $seal_dir --class default >/dev/null
  id=\$(holdfast-verifier gateway list --json | sed -n 's/.*\"gateway_id\": *\"\([0-9a-f]*\)\".*/\1/p' | head -n 1)
  $as_verifier holdfast-verifier seal approve --dir $seal_dir --class default --from-gateway \"\$id\" >/dev/null
  patiently holdfast-attester attest >/dev/null
  printf 'open sesame' | patiently holdfast-attester seal disk-key"
# The TPM of this machine is behind TCP, which the unit has no use for.
there '
  install -d /etc/systemd/system/holdfast-credential@.service.d
  printf "%s\n" "[Service]" PrivateNetwork=no "RestrictAddressFamilies=AF_INET AF_UNIX" \
    >/etc/systemd/system/holdfast-credential@.service.d/swtpm.conf
  cat >/etc/systemd/system/consumer.service <<"UNIT"
[Unit]
Requires=holdfast-credential@disk-key.service
After=holdfast-credential@disk-key.service
[Service]
Type=oneshot
RemainAfterExit=yes
DynamicUser=yes
StateDirectory=consumer
LoadCredential=disk-key:/run/holdfast-credential-disk-key/disk-key
ExecStart=sh -c "cat $${CREDENTIALS_DIRECTORY}/disk-key >$${STATE_DIRECTORY}/had"
UNIT
  systemctl daemon-reload'
expect "it is unsealed when its unit starts: for its account alone, in memory" "$patiently"'
  patiently systemctl start holdfast-credential@disk-key
  [ "$(stat -c %U:%a /run/holdfast-credential-disk-key)" = holdfast:700 ]
  [ "$(stat -c %U:%a /run/holdfast-credential-disk-key/disk-key)" = holdfast:400 ]
  [ "$(stat -f -c %T /run/holdfast-credential-disk-key)" = tmpfs ]
  [ "$(cat /run/holdfast-credential-disk-key/disk-key)" = "open sesame" ]'
expect "a service with an account of its own takes it by LoadCredential=" '
  systemctl start consumer
  [ "$(cat /var/lib/private/consumer/had)" = "open sesame" ]'
expect "and latched: it comes out no more in this boot" '
  ! holdfast-attester unseal disk-key >/dev/null 2>/tmp/refused
  ! systemctl restart holdfast-credential@disk-key 2>/dev/null
  [ ! -e /run/holdfast-credential-disk-key/disk-key ]'
expect "a secret of the owner reaches a service by ExecStartPre=" "$patiently"'
  printf "hunter2" | holdfast-verifier secret put --class default db-password >/dev/null
  patiently holdfast-attester attest >/dev/null
  holdfast-attester secret list | grep -q db-password
  patiently systemd-run -q --wait --pipe -p User=holdfast -p SupplementaryGroups=tss \
    -p RuntimeDirectory=app -p RuntimeDirectoryMode=0700 -p ProtectSystem=strict \
    -p "ExecStartPre=/usr/bin/holdfast-attester secret get db-password --credential" \
    bash -euc "[ \"\$(stat -c %a /run/app/db-password)\" = 400 ]; [ \"\$(cat /run/app/db-password)\" = hunter2 ]"'

# ---- a first boot with a bundle: the daemon enrols

expect "a bundle and no enrolment: the daemon enrols by itself" "$hears$patiently"'
  systemctl stop holdfast-attester
  cp -a /var/lib/holdfast /root/before && rm -r /var/lib/holdfast/*
  holdfast-verifier token create --output /etc/holdfast/bundle.txt >/dev/null
  chown holdfast /etc/holdfast/bundle.txt
  echo "bundle = \"/etc/holdfast/bundle.txt\"" >>/etc/holdfast/attester.toml
  since=$(date "+%F %T")
  systemctl start holdfast-attester
  hears holdfast-attester "event=\"affirmed\" act=\"enrol\"" "$since"
  rm /etc/holdfast/bundle.txt; sed -i "/^bundle = /d" /etc/holdfast/attester.toml
  patiently holdfast-attester attest >/dev/null'
there 'rm -rf /etc/systemd/system/holdfast-*.d /etc/systemd/system/consumer.service /dev/probe /dev/tpmrm0
  systemctl daemon-reload'
