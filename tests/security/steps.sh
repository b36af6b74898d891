# What the scripts beside this file are made of; sourced, never run. Needs $work,
# a directory of its own that is removed at the end, with the programs in
# $work/bin.
#
#   page TITLE           what follows is of this page
#   serve COMMAND...     starts a server and waits until it is ready
#   said REGEX           the server has said so in its log
#   logs                 files with all that servers have said so far
#   stop                 ends it
#   works REGEX CMD...   succeeds, and its output matches
#   refused REGEX CMD... fails, and its output matches
#   finish               says how much was done

# What the shell of the caller has set must not steer anybody.
for name in $(compgen -e | grep -E '^(T4|ETCD|ETCDCTL|SSL)_' || true); do unset "$name"; done
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY
export PATH=$work/bin:$PATH T4_METRICS_ADDR=127.0.0.1:${METRICS_PORT:-29090}

server="" steps=0 servers=0 log="" output=$work/output

page() { printf '\n== %s\n' "$*"; }

show() {
    steps=$((steps + 1))
    printf '$'
    printf ' %s' "${@//"$work"\//}"
    printf '\n'
}

# In one file and not in a pipe: a pipe has an exit code of its own.
works() {
    local expected=$1
    shift
    show "$@"
    "$@" >"$output" 2>&1 </dev/null || wrong "it fails"
    matches "$expected"
}

refused() {
    local expected=$1
    shift
    show "$@"
    # A server that starts, where it should refuse to, would run for ever.
    if [ "$(type -t "$1")" = function ]; then
        "$@" >"$output" 2>&1 </dev/null && wrong "it succeeds"
    else
        timeout 60 "$@" >"$output" 2>&1 </dev/null && wrong "it succeeds"
        [ $? -ne 124 ] || wrong "it does not end"
    fi
    matches "$expected"
}

matches() {
    if [ -z "$1" ]; then return; fi
    grep -Eq -- "$1" "$output" || wrong "nothing in its output matches: $1"
}

serve() {
    show "$@"
    # One of its own: what the last one has said must not be taken for its.
    servers=$((servers + 1))
    log=$work/server-$servers.log
    : >"$log"
    "$@" >>"$log" 2>&1 </dev/null &
    server=$!
    for _ in $(seq 600); do
        if grep -q "ready to serve client requests" "$log"; then return; fi
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    cp "$log" "$output"
    wrong "it does not serve"
}

logs() { ls "$work"/server-*.log; }

said() {
    grep -Eq -- "$1" "$log" || { cp "$log" "$output"; wrong "nothing in the log matches: $1"; }
}

stop() {
    kill "$server"
    wait "$server" || { cp "$log" "$output"; wrong "the server did not end well"; }
    server=""
}

wrong() {
    printf '\nwrong: %s\n' "$*" >&2
    cat "$output" >&2
    if [ -n "$server" ]; then
        printf '\nthe server said:\n' >&2
        tail -n 40 "$log" >&2
    fi
    exit 1
}

clean_up() {
    if [ -n "$server" ]; then kill -9 "$server" 2>/dev/null || true; fi
    rm -rf "$work"
}

finish() { printf '\n%s steps, as the pages say\n' "$steps"; }
