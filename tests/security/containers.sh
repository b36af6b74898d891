#!/usr/bin/env bash
# What docs/operations.md promises of containers: PID 1, SIGTERM, a root file
# system that is read-only, a user that nobody knows, no HOME, 64 open files, what
# Kubernetes sets for a service named t4, and an output that nobody reads.
#
#   tests/security/containers.sh T4 ETCDCTL
#
# Needs root, for namespaces; without, it says SKIPPED.
set -euo pipefail
t4=$(realpath "$1") etcdctl=$(realpath "$2")
if [ "${3:-}" != --inside ]; then
    if ! unshare --mount --net true 2>/dev/null; then
        echo "SKIPPED: needs root, for namespaces"
        echo "0 steps, as the pages say"
        exit 0
    fi
    exec unshare --mount --net bash "$0" "$t4" "$etcdctl" --inside
fi

world=$(mktemp -d)
trap 'umount "$world/data" && rm -rf "$world"' EXIT
mkdir "$world/data"
mount -t tmpfs tmpfs "$world/data"
chown 1000650000:0 "$world/data" && chmod 755 "$world/data"
# Reachable for that user, wherever the binary of the build lies.
mkdir "$world/bin" && cp "$t4" "$world/bin/t4" && chmod 755 "$world" "$world/bin"
ip link set lo up

# Before anything is started, `--check` says what this user could not do.
nobody() { setpriv --reuid 12345 --regid 12345 --clear-groups env -i "$world/bin/t4" "$@"; }
if nobody run --check --data-dir "$world/data/inner" >/dev/null 2>"$world/log"; then
    echo "wrong: a directory that cannot be made is sound to --check"
    exit 1
fi
grep -q "cannot write to $world/data" "$world/log" || { cat "$world/log"; exit 1; }

# Its shell is replaced: what runs is PID 1 of its namespace.
(
    ulimit -n 64
    exec unshare --pid --fork --kill-child --mount-proc bash -c '
        mount -o remount,ro,bind / 2>/dev/null || mount --bind / / && mount -o remount,ro,bind /
        if touch /t4-was-here 2>/dev/null; then rm /t4-was-here; echo "the root is not read-only"; exit 9; fi
        exec setpriv --reuid 1000650000 --regid 0 --clear-groups env -i \
            T4_PORT=tcp://10.0.0.1:3379 T4_SERVICE_HOST=10.0.0.1 T4_PORT_3379_TCP_PORT=3379 \
            "$0" run --data-dir "$1/inner" >&-' "$world/bin/t4" "$world/data"
) 2>"$world/log" &
server=$!

wrong() { printf 'wrong: %s\n' "$*"; cat "$world/log"; kill -9 "$server" 2>/dev/null; exit 1; }
steps=0
for _ in $(seq 300); do
    if [ "$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:9090/readyz)" = 200 ]; then steps=1; break; fi
    kill -0 "$server" 2>/dev/null || wrong "it does not start"
    sleep 0.1
done
[ "$steps" = 1 ] || wrong "it is not ready"
[ "$("$etcdctl" --endpoints http://127.0.0.1:3379 put k v)" = OK ] || wrong "it takes no write"
grep -q "is not known and has no effect" "$world/log" && wrong "it minds what Kubernetes sets"
inner=$(pgrep -P "$server")
[ "$(ps -o uid= -p "$inner" | tr -d ' ')" = 1000650000 ] || wrong "it is somebody else"
kill -TERM "$inner"
for _ in $(seq 100); do
    kill -0 "$inner" 2>/dev/null || { steps=2; break; }
    sleep 0.1
done
[ "$steps" = 2 ] || wrong "SIGTERM does not end it as PID 1"
wait "$server" || wrong "its exit code is $?"
echo "2 steps, as the pages say"
