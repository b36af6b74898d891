#!/usr/bin/env bash
# Runs every block of a page as it is shown: its commands, with the ports, paths,
# addresses and names that stand there; its files, written to the path in their
# first line. A page that fails when pasted fails here.
#
#   tests/security/pages.sh T4 ETCDCTL PAGE...     paths of two binaries; etcd is
#                                                  beside etcdctl
#
# Each page has a world of its own: a namespace of mounts and of the network, in
# which /etc, /var/lib, /usr/local and a few others are copies that go away, and
# the addresses of the pages are this machine's. That needs root; without, it says
# SKIPPED.
#
# In a page:
#
# * ```console: lines that begin with "$ " are commands, and those that follow them
#   their output, compared line by line; "…" is any number of lines; without
#   output, only success counts. Servers run on behind the commands that follow,
#   until the next one of their kind; so does what "ctrl-C ends it" is said of.
# * ```yaml, ```ini: a file; "# /path" is its first line.
# * <!-- page: ctrl-C --> ends what runs.
# * <!-- not run: REASON --> before a block: it is left out, with the reason.
#
# The answers to prompts are those of `etcdctl` below; `cargo run … --` is this T4;
# systemctl is a small one that does what the unit says.
set -euo pipefail

# What a command says goes to a file; this must not.
exec 9>&2
die() { printf '\nwrong: %s\n' "$*" >&9; exit 1; }

if [ "${1:-}" != --inside ]; then
    [ $# -ge 3 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
    t4=$(realpath "$1") etcdctl=$(realpath "$2")
    shift 2
    if ! unshare --mount --net true 2>/dev/null; then
        echo "SKIPPED: needs root, for a world of its own (unshare --mount --net)"
        echo "0 steps, as the pages say"
        exit 0
    fi
    steps=0
    for page in "$@"; do
        log=$(mktemp) world=$(mktemp -d)
        done=0
        unshare --mount --net --pid --fork --kill-child --mount-proc \
            bash "$0" --inside "$t4" "$etcdctl" "$(realpath "$page")" "$world" 2>&1 | tee "$log" \
            || done=$?
        steps=$((steps + $(grep -c '^\$ ' "$log" || true)))
        rm "$log"
        rmdir "$world"
        [ "$done" = 0 ] || exit 1
    done
    printf '\n%s steps, as the pages say\n' "$steps"
    exit 0
fi

t4=$2 etcdctl=$3 page=$4 world=$5
etcd=$(dirname "$etcdctl")/etcd

# ---- the world ---------------------------------------------------------------
for name in $(compgen -e | grep -E '^(T4|ETCD|ETCDCTL|SSL)_' || true); do unset "$name"; done
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY
mount -t tmpfs tmpfs "$world"
cp -a /etc "$world/etc"
mkdir "$world"/{bin,logs,home}
mount --bind "$world/etc" /etc
for dir in /usr/local /var/lib /var/backups /run; do
    if [ -d "$dir" ]; then mount -t tmpfs tmpfs "$dir"; fi
done
findmnt -n -t tmpfs /var/lib >/dev/null || die "the world is not one of its own"
mkdir -p /usr/local/bin /etc/bash_completion.d /etc/systemd/system
ip link set lo up
ip addr add 10.0.0.7/32 dev lo
echo "10.0.0.7 t4.example" >>/etc/hosts
cd "$world/home"
mkdir -p target/release
cp "$t4" target/release/t4
ln -s "$etcdctl" "$world/bin/etcdctl"
export PATH=/usr/local/bin:$world/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=$world/home

# Who begins with `cargo run` has no binary on the path until it is installed.
grep -q '^\$ cargo run' "$page" || cp "$t4" /usr/local/bin/t4

# Who says that the user is there has it.
grep -q '^\$ useradd' "$page" || useradd --system --user-group t4

cargo() {
    [ "$1" = run ] || die "only cargo run is known: $*"
    while [ "$1" != -- ]; do shift; done
    shift
    "$t4" "$@"
}

# Types the answers to prompts.
etcdctl() {
    local args=("$@") all=" $* "
    case $all in *" user add "*) args+=(--new-user-password=a-password) ;; esac
    case $all in *" --user root "*) args+=(--password=a-password) ;; esac
    command etcdctl "${args[@]}"
}

# As much of systemd as the pages use, from the unit as it is shown.
unit() { sed -n "s/^$1=//p" /etc/systemd/system/t4.service; }
systemctl() {
    case $* in
        daemon-reload) return ;;
        "enable --now t4")
            [ "$(unit WantedBy)" = multi-user.target ] || die "the unit cannot be enabled"
            systemctl start t4
            ;;
        "start t4")
            local user directory
            user=$(unit User)
            for directory in "/var/lib/$(unit StateDirectory)" "/run/$(unit RuntimeDirectory)"; do
                mkdir -p "$directory"
                # As systemd does, where the owner is another one.
                chown -R "$user" "$directory"
            done
            background service bash -c "umask $(unit UMask); ulimit -n $(unit LimitNOFILE)
                exec setpriv --reuid $user --regid $(unit Group) --clear-groups \
                    env -i $(unit ExecStart)"
            ;;
        "stop t4") end service ;;
        "reload t4") kill -HUP "$(cat "$world/service.pid")" ;;
        *) die "systemctl $* is not known" ;;
    esac
}

# ---- what runs behind --------------------------------------------------------
# A name is what one of a kind has: server, service, terminal.
background() {
    local name=$1
    shift
    end "$name"
    log=$world/logs/$name.log
    # `exec` in a subshell: its id is the program's.
    (
        trap - EXIT
        if [ "$(type -t "$1")" = function ]; then "$@"; else exec "$@"; fi
    ) >"$log" 2>&1 </dev/null &
    echo $! >"$world/$name.pid"
    if [ "$name" = terminal ]; then return; fi
    for _ in $(seq 600); do
        if grep -q "ready to serve client requests" "$log"; then return; fi
        kill -0 "$(cat "$world/$name.pid")" 2>/dev/null || break
        sleep 0.1
    done
    cat "$log" >&9
    die "it does not serve"
}

end() {
    local pid
    [ -f "$world/$1.pid" ] || return 0
    pid=$(cat "$world/$1.pid")
    rm "$world/$1.pid"
    # A function is a shell with the program below it.
    kill -TERM "$(pgrep -P "$pid" | head -n 1)" 2>/dev/null || kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

end_all() { for one in terminal server service; do end "$one"; done; }

# ---- blocks ------------------------------------------------------------------
# Whether what came is what the page shows.
matches() {
    local expected=$1 came=$2
    awk -v expected="$expected" -v came="$came" 'BEGIN {
        n = 0; while ((getline line < expected) > 0) want[++n] = line
        m = 0; while ((getline line < came) > 0) have[++m] = line
        at = 1; loose = 0
        for (i = 1; i <= n; i++) {
            if (want[i] == "…") { loose = 1; continue }
            while (loose && at <= m && have[at] != want[i]) at++
            if (at > m || have[at] != want[i]) exit 1
            at++; loose = 0
        }
        exit !(loose || at > m)
    }'
}

# Runs one command; its expected output is in a file, which may be empty.
step() {
    local command=$1 expected=$2 came=$world/came tries=1
    printf '$ %s\n' "$command"
    case $command in
        "t4 run --check"*) ;;
        "t4 run "* | "cargo run "*" run "* | "etcd "*)
            eval "background server ${command%%#*}"
            if [ -s "$expected" ]; then
                grep -qFf "$expected" "$world/logs/server.log" || {
                    cat "$world/logs/server.log" >&2
                    die "it says something else than: $(cat "$expected")"
                }
            fi
            return
            ;;
        *"# "*"ctrl-C ends it")
            eval "background terminal ${command%%#*}"
            return
            ;;
    esac
    # What runs behind may need a moment until it shows.
    [ -f "$world/terminal.pid" ] && tries=100
    for try in $(seq "$tries"); do
        # In this shell: what it exports counts for the page.
        if eval "$command" >"$came" 2>"$world/errors" </dev/null; then
            if [ ! -s "$expected" ] || matches "$expected" "$came"; then return; fi
        fi
        [ "$try" = "$tries" ] || sleep 0.1
    done
    cat "$came" "$world/errors" >&2
    [ ! -s "$expected" ] || { printf 'the page shows:\n' >&2; cat "$expected" >&2; }
    tail -n 20 "$world"/logs/*.log >&2 || true
    die "it is not as the page has it"
}

console() {
    local file=$1 line command="" expected=$world/expected
    : >"$expected"
    while IFS= read -r line; do
        if [ "${line#\$ }" != "$line" ]; then
            [ -z "$command" ] || step "$command" "$expected"
            command=${line#\$ }
            : >"$expected"
        elif [ "${command%\\}" != "$command" ]; then
            command="${command%\\}$(printf '%s' "$line" | sed 's/^ */ /')"
        elif [ -n "$command" ]; then
            printf '%s\n' "$line" >>"$expected"
        fi
    done <"$file"
    [ -z "$command" ] || step "$command" "$expected"
}

write_file() {
    local path
    path=$(sed -n '1s/^# \(\/.*\)$/\1/p' "$1")
    [ -n "$path" ] || die "a file without its path in the first line: $(head -n 1 "$1")"
    printf 'file: %s\n' "$path"
    mkdir -p "$(dirname "$path")"
    cp "$1" "$path"
    case $path in
        *.service)
            if command -v systemd-analyze >/dev/null; then
                systemd-analyze verify --man=no "$path" >"$world/verified" 2>&1 \
                    || { cat "$world/verified" >&2; die "systemd does not take the unit"; }
                # Warnings leave the exit code at 0: a name that is not known is one.
                if grep -F "$(basename "$path")" "$world/verified"; then die "systemd warns"; fi
            fi
            ;;
        *.yaml) t4 run --check --config-file "$path" >"$world/checked" 2>&1 \
            || { cat "$world/checked" >&2; die "the file is not one of t4 run"; } ;;
    esac
}

# Something to move from: the page's etcd, with keys.
if grep -q '^\$ .*make-mirror' "$page"; then
    "$etcd" --data-dir "$world/etcd" --listen-peer-urls http://127.0.0.1:2380 \
        >"$world/logs/etcd.log" 2>&1 </dev/null &
    for key in a b c; do
        for _ in $(seq 300); do
            if command etcdctl put "/registry/$key" "$key" >/dev/null 2>&1; then break; fi
            sleep 0.1
        done
    done
fi

printf '\n== %s\n' "$(basename "$page")"
language="" block=$world/block reason=""
while IFS= read -r line <&3; do
    case $language:$line in
        :'<!-- page: ctrl-C -->') end_all ;;
        :'<!-- not run: '*) reason=${line#<!-- not run: } reason=${reason% -->} ;;
        :'```'*)
            language=${line#\`\`\`}
            language=${language:-text}
            : >"$block"
            ;;
        *:'```')
            if [ -n "$reason" ]; then
                printf 'not run (%s): %s\n' "$reason" "$(head -n 1 "$block")"
            else
                case $language in
                    console) console "$block" ;;
                    yaml | ini) write_file "$block" ;;
                    text) ;;
                    *) die "a block of $language, which nobody runs" ;;
                esac
            fi
            language="" reason=""
            ;;
        :*) ;;
        *) printf '%s\n' "$line" >>"$block" ;;
    esac
done 3<"$page"
[ -z "$language" ] || die "a block without an end"
end_all
