#!/usr/bin/env bash
# Every command of the section "Authentication and RBAC" of T4's security page,
# run against this T4, and what the page says of the rules.
#
#   tests/security/auth.sh T4 ETCDCTL      paths of the two binaries
#
# Only host names, ports and paths differ from the page. Passwords are typed at
# a prompt there; here they come from a pipe, with etcdctl's flag for that.
#
# Needs bash. Works in a directory of its own, which it removes. Ports:
# CLIENT_PORT and METRICS_PORT of the environment.
set -euo pipefail

if [ $# -ne 2 ]; then
    sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/t4-auth-XXXXXX")
mkdir "$work/bin"
ln -s "$(realpath "$1")" "$work/bin/t4"
ln -s "$(realpath "$2")" "$work/bin/etcdctl"
port=${CLIENT_PORT:-23379}

# shellcheck source=tests/security/steps.sh
source "$(dirname "$0")/steps.sh"
trap 'clean_up' EXIT

# What is typed at the prompt, and the command that asks for it.
typed() {
    local password=$1
    shift
    printf '%s\n' "$password" | "$@" --interactive=false
}

page "T4, Security: enable auth"
serve t4 run --data-dir "$work/t4" --listen "127.0.0.1:$port"
works OK etcdctl --endpoints="localhost:$port" put /config/color blue
works OK etcdctl --endpoints="localhost:$port" put /data/size 9
refused "root user does not exist" etcdctl --endpoints="localhost:$port" auth enable
works "User root created" typed pass etcdctl --endpoints="localhost:$port" user add root
works "Authentication Enabled" etcdctl --endpoints="localhost:$port" auth enable
# "Once enabled, all KV and Watch requests require authentication."
refused "user name is empty" etcdctl --endpoints="localhost:$port" get /config/color
refused "user name is empty" etcdctl --endpoints="localhost:$port" put /config/color red
refused "permission denied|user name is empty" etcdctl --endpoints="localhost:$port" watch /config/color
refused "invalid user ID or password" \
    etcdctl --endpoints="localhost:$port" --user root:guessed get /config/color

page "T4, Security: create users and roles"
works "Role config-reader created" etcdctl --endpoints="localhost:$port" --user root:pass \
    role add config-reader
works "Role config-reader updated" etcdctl --endpoints="localhost:$port" --user root:pass \
    role grant-permission config-reader read /config/ --prefix
works "User alice created" typed secret etcdctl --endpoints="localhost:$port" --user root:pass \
    user add alice
works "Role config-reader is granted to user alice" etcdctl --endpoints="localhost:$port" --user root:pass \
    user grant-role alice config-reader

page "T4, Security: RBAC rules"
as() { etcdctl --endpoints="localhost:$port" --user "$@"; }
works blue as alice:secret get /config/color
works blue as alice:secret get /config/ --prefix
refused "permission denied" as alice:secret put /config/color red
refused "permission denied" as alice:secret del /config/color
refused "permission denied" as alice:secret get /data/size
refused "permission denied" as alice:secret get /config/ --from-key
refused "permission denied" as alice:secret user list
# An exact key, and an open-ended range (rangeEnd = "\x00").
works "" as root:pass role add sizes
works "Role sizes updated" as root:pass role grant-permission sizes readwrite /data/size
works "Role sizes updated" as root:pass role grant-permission sizes read /data/ --from-key
works "" as root:pass user grant-role alice sizes
works OK as alice:secret put /data/size 10
works 10 as alice:secret get /data/ --from-key
refused "permission denied" as alice:secret put /data/sizes 10
# "The root role bypasses all permission checks."
works OK as root:pass put /anything at-all
stop

page "T4, Security: token TTL"
serve t4 run --data-dir "$work/t4" --listen "127.0.0.1:$port" --auth-enabled --token-ttl 3600
works blue as alice:secret get /config/color
refused "user name is empty" etcdctl --endpoints="localhost:$port" get /config/color
works "Authentication Status: true" as root:pass auth status
stop
# Passwords, right ones and wrong ones, are in no file and in no log of any
# server, where what was put and what was said is found.
mapfile -t logs < <(logs)
works "^2$" echo "${#logs[@]}"
for one in "${logs[@]}"; do works "" grep -q "ready to serve client requests" "$one"; done
works "" grep -rqw "/config/color" "$work/t4"
refused "" grep -rqw -e secret -e pass -e guessed "$work/t4" "${logs[@]}"

finish
