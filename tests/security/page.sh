#!/usr/bin/env bash
# Every command that docs/security.md shows of certificates and TLS, run against
# this T4. Those of users and roles are in auth.sh, those of etcd's command line
# in examples.sh.
#
#   tests/security/page.sh T4 ETCDCTL      paths of the two binaries
#
# Only host names, ports and paths differ from the page.
#
# Needs bash and curl. Works in a directory of its own, which it removes. Ports:
# CLIENT_PORT and METRICS_PORT of the environment.
set -euo pipefail

if [ $# -ne 2 ]; then
    sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/t4-page-XXXXXX")
mkdir "$work/bin" "$work/tls"
ln -s "$(realpath "$1")" "$work/bin/t4"
ln -s "$(realpath "$2")" "$work/bin/etcdctl"
port=${CLIENT_PORT:-23379}
tls=$work/tls

# shellcheck source=tests/security/steps.sh
source "$(dirname "$0")/steps.sh"
trap 'clean_up' EXIT

url=https://127.0.0.1:$port

page "Certificates"
cd "$tls"
works "ca.crt" t4 certs init-ca
works "./server.crt" t4 certs issue server --san localhost --san 127.0.0.1
works "./alice.crt" t4 certs issue client --common-name alice --name alice
works "localhost" t4 certs inspect server.crt
works "" t4 certs renew server.crt

page "TLS for clients"
cd "$work"
serve t4 run --data-dir "$work/t4" --listen "0.0.0.0:$port" \
    --client-tls-cert "$tls/server.crt" --client-tls-key "$tls/server.key"
works OK etcdctl --endpoints "$url" --cacert "$tls/ca.crt" put /hello world
refused "" curl -sS "http://127.0.0.1:$port/health"
stop

page "Clients with certificates (mutual TLS)"
serve t4 run --data-dir "$work/t4" --listen "0.0.0.0:$port" \
    --client-tls-cert "$tls/server.crt" --client-tls-key "$tls/server.key" --client-tls-ca "$tls/ca.crt"
works OK etcdctl --endpoints "$url" --cacert "$tls/ca.crt" \
    --cert "$tls/alice.crt" --key "$tls/alice.key" put /hello world
refused "Error:" etcdctl --endpoints "$url" --cacert "$tls/ca.crt" --command-timeout=3s get /hello
stop

page "TLS for clients: cipher suites"
serve t4 run --data-dir "$work/t4" --listen "127.0.0.1:$port" \
    --client-tls-cert "$tls/server.crt" --client-tls-key "$tls/server.key" \
    --cipher-suites TLS_AES_128_GCM_SHA256
said "no suite of TLS 1.2 is named, so it is off"
works '"health":"true"' curl -sS --tlsv1.3 --cacert "$tls/ca.crt" "$url/health"
refused "\(35\).*alert protocol version" curl -sS --tls-max 1.2 --cacert "$tls/ca.crt" "$url/health"
stop

page "Certificates that are made (--auto-tls)"
serve t4 run --data-dir "$work/t4-auto" --listen "127.0.0.1:$port" --auto-tls
# Without the first flag etcdctl speaks plain text.
works OK etcdctl --endpoints "$url" --insecure-transport=false --insecure-skip-tls-verify put /hello world
works '"health":"true"' curl -sS -k "$url/health"
# Who has the certificate need not believe everything.
made=$work/t4-auto/fixtures/client/cert.pem
works world etcdctl --endpoints "$url" --cacert "$made" get /hello
works '"health":"true"' curl -sS --cacert "$made" "$url/health"
stop
# Another server, with a certificate that it has made itself, is not believed.
serve t4 run --data-dir "$work/t4-other" --listen "127.0.0.1:$port" --auto-tls
refused "certificate signed by unknown authority|deadline exceeded" \
    etcdctl --endpoints "$url" --cacert "$made" --command-timeout=3s get /hello
refused "\(60\)" curl -sS --cacert "$made" "$url/health"
stop

page "Sockets of the file system"
cd "$work"
serve t4 run --data-dir "$work/t4" --listen unixs://localhost \
    --client-tls-cert "$tls/server.crt" --client-tls-key "$tls/server.key"
works OK etcdctl --endpoints unixs:localhost --cacert "$tls/ca.crt" put /hello world
stop

page "Peers"
refused "--peer-listen: .* is not allowed: this version runs one node" \
    t4 run --data-dir "$work/t4" --peer-listen "0.0.0.0:0"

finish
