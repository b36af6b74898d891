#!/usr/bin/env bash
# Every command of the security pages of T4 and etcd, run against this T4.
#
#   tests/security/examples.sh T4 ETCDCTL      paths of the two binaries
#
# Only host names, ports and paths differ from the pages. Where a page shows a
# refusal, the refusal is checked, and its reason. What a page could not know is
# said beside the command: etcd's v2 API (/v2/keys), which etcd itself no longer
# serves by default, and a cipher suite that today's curl has forgotten.
#
# Needs bash, openssl and curl. Works in a directory of its own, which it
# removes. Ports: CLIENT_PORT, PEER_PORT and METRICS_PORT of the environment.
set -euo pipefail

if [ $# -ne 2 ]; then
    sed -n '2,13s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/t4-examples-XXXXXX")
mkdir "$work/bin" "$work/tls"
# The same binary is `t4`, and under the name `etcd` takes etcd's flags.
ln -s "$(realpath "$1")" "$work/bin/t4"
ln -s "$(realpath "$1")" "$work/bin/etcd"
ln -s "$(realpath "$2")" "$work/bin/etcdctl"
port=${CLIENT_PORT:-23379} peer_port=${PEER_PORT:-23380}
tls=$work/tls

# shellcheck source=tests/security/steps.sh
source "$(dirname "$0")/steps.sh"
trap 'clean_up' EXIT

url=https://127.0.0.1:$port

page "T4, Security: generating test certificates"
cd "$tls"
works "" openssl genrsa -out ca.key 4096
works "" openssl req -new -x509 -days 3650 -key ca.key -out ca.crt \
    -subj "/CN=t4-ca"
works "" openssl genrsa -out server.key 4096
works "" openssl req -new -key server.key -out server.csr \
    -subj "/CN=t4-server"
works "" openssl x509 -req -days 3650 -in server.csr -CA ca.crt -CAkey ca.key \
    -CAcreateserial -out server.crt \
    -extfile <(printf "subjectAltName=DNS:localhost,IP:127.0.0.1")
works "server.crt: OK" openssl verify -CAfile ca.crt server.crt

page "T4, Security: server-only TLS"
cd "$work"
serve t4 run \
    --data-dir "$work/t4" \
    --listen "0.0.0.0:$port" \
    --client-tls-cert "$tls/server.crt" \
    --client-tls-key "$tls/server.key"
works OK etcdctl --endpoints="https://localhost:$port" \
    --cacert "$tls/ca.crt" \
    put /hello world
works world etcdctl --endpoints="$url" --cacert "$tls/ca.crt" get /hello
works "Verify return code: 0" openssl s_client -connect "localhost:$port" -CAfile "$tls/ca.crt"
# Who does not know the CA is not fooled, and nobody gets by without TLS.
refused "certificate signed by unknown authority" etcdctl --endpoints="$url" get /hello
refused "\(60\)" curl -sS "$url/version"
refused "" curl -sS "http://127.0.0.1:$port/version"
stop

page "T4, Security: mutual TLS"
serve t4 run \
    --data-dir "$work/t4" \
    --listen "0.0.0.0:$port" \
    --client-tls-cert "$tls/server.crt" \
    --client-tls-key "$tls/server.key" \
    --client-tls-ca "$tls/ca.crt"
cd "$tls"
works "" openssl genrsa -out client.key 4096
works "" openssl req -new -key client.key -out client.csr -subj "/CN=my-app"
works "" openssl x509 -req -days 365 -in client.csr -CA ca.crt -CAkey ca.key \
    -CAcreateserial -out client.crt
cd "$work"
works OK etcdctl --endpoints="https://localhost:$port" \
    --cacert "$tls/ca.crt" \
    --cert "$tls/client.crt" \
    --key "$tls/client.key" \
    put /hello world
refused "Error:" etcdctl --endpoints="$url" --cacert "$tls/ca.crt" --command-timeout=3s get /hello
refused "certificate required" curl -sS --cacert "$tls/ca.crt" "$url/version"
said "tls: client didn't provide a certificate"
stop

page "T4, Security: peer mTLS"
# The port of peers comes with the cluster (--peer-listen and --advertise-peer are
# refused, with the reason); what it will show and trust is loaded and checked
# today.
cd "$tls"
works "" openssl genrsa -out node.key 4096
works "" openssl req -new -key node.key -out node.csr -subj "/CN=t4-node"
works "" openssl x509 -req -days 3650 -in node.csr -CA ca.crt -CAkey ca.key \
    -CAcreateserial -out node.crt \
    -extfile <(printf "subjectAltName=DNS:node-a.internal,DNS:node-b.internal,DNS:node-c.internal")
cd "$work"
peers=(--peer-tls-ca "$tls/ca.crt" --peer-tls-cert "$tls/node.crt")
serve t4 run --data-dir "$work/t4" --listen "127.0.0.1:$port" \
    "${peers[@]}" --peer-tls-key "$tls/node.key"
stop
refused "server.key" t4 run --data-dir "$work/t4" --listen "127.0.0.1:$port" \
    "${peers[@]}" --peer-tls-key "$tls/server.key"
one_node="is not allowed: this version runs one node, and the cluster comes with a later one"
refused "^t4: --peer-listen: .* $one_node" t4 run --data-dir "$work/t4" \
    --peer-listen "0.0.0.0:$peer_port" --advertise-peer "node-a.internal:$peer_port" \
    "${peers[@]}" --peer-tls-key "$tls/node.key"
refused "^t4: --advertise-peer: .* $one_node" t4 run --data-dir "$work/t4" \
    --advertise-peer "node-a.internal:$peer_port" "${peers[@]}" --peer-tls-key "$tls/node.key"

page "T4, Security: cert-manager"
# What its controller makes of the page's manifests, made with openssl: an issuer
# that signs itself, and a certificate of both purposes for a year.
cd "$tls"
works "" openssl req -x509 -newkey rsa:2048 -nodes -days 90 -keyout cm-ca.key -out cm-ca.crt \
    -subj "/CN=t4-ca" -addext "basicConstraints=critical,CA:TRUE" \
    -addext "keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign"
works "" openssl req -new -newkey rsa:2048 -nodes -keyout cm.key -out cm.csr -subj "/"
works "" openssl x509 -req -days 365 -in cm.csr -CA cm-ca.crt -CAkey cm-ca.key \
    -CAcreateserial -out cm.crt -extfile <(printf '%s\n' \
    "basicConstraints=critical,CA:FALSE" \
    "keyUsage=critical,digitalSignature,keyEncipherment" \
    "extendedKeyUsage=serverAuth,clientAuth" \
    "subjectAltName=critical,DNS:t4-0.t4-headless.default.svc.cluster.local,DNS:localhost")
cd "$work"
serve t4 run --data-dir "$work/t4" --listen "127.0.0.1:$port" \
    --client-tls-cert "$tls/cm.crt" --client-tls-key "$tls/cm.key" --client-tls-ca "$tls/cm-ca.crt" \
    --peer-tls-cert "$tls/cm.crt" --peer-tls-key "$tls/cm.key" --peer-tls-ca "$tls/cm-ca.crt"
works OK etcdctl --endpoints="https://localhost:$port" --cacert "$tls/cm-ca.crt" \
    --cert "$tls/cm.crt" --key "$tls/cm.key" put /hello world
stop

page "T4, Security: S3 bucket"
# Nothing to run: policies. The bucket comes with the archive.

page "etcd, Transport security model, example 1: HTTPS"
serve etcd --name infra0 --data-dir infra0 \
    --cert-file="$tls/server.crt" --key-file="$tls/server.key" \
    --advertise-client-urls="$url" --listen-client-urls="$url"
# The page's own command: the handshake is to succeed, and it does. v2 is not
# there, as in etcd 3.5 without --enable-v2.
works "SSL connection using TLSv1.[23]" \
    curl --cacert "$tls/ca.crt" "$url/v2/keys/foo" -XPUT -d value=bar -v
works "HTTP/[12.]* 404" curl --cacert "$tls/ca.crt" "$url/v2/keys/foo" -XPUT -d value=bar -v
works '"health":"true"' curl -sS --cacert "$tls/ca.crt" "$url/health"
works OK etcdctl --endpoints="$url" --cacert "$tls/ca.crt" put foo bar
refused "\(60\) SSL certificate problem" curl -sS "$url/health"
works '"health":"true"' curl -sS -k "$url/health"
stop

page "etcd, Transport security model, example 2: client certificates"
serve etcd --name infra0 --data-dir infra0 \
    --client-cert-auth --trusted-ca-file="$tls/ca.crt" --cert-file="$tls/server.crt" --key-file="$tls/server.key" \
    --advertise-client-urls "$url" --listen-client-urls "$url"
refused "alert (bad certificate|certificate required)|certificate required" \
    curl --cacert "$tls/ca.crt" "$url/v2/keys/foo" -XPUT -d value=bar -v
refused "alert bad certificate|alert certificate required|alert handshake failure" \
    curl --tls-max 1.2 --cacert "$tls/ca.crt" "$url/v2/keys/foo" -XPUT -d value=bar -v
for line in 'TLS handshake, CERT verify \(15\):' 'TLS handshake, Finished \(20\)'; do
    works "$line" curl --cacert "$tls/ca.crt" --cert "$tls/client.crt" --key "$tls/client.key" \
        -L "$url/v2/keys/foo" -XPUT -d value=bar -v
done
works '"health":"true"' curl -sS --cacert "$tls/ca.crt" --cert "$tls/client.crt" --key "$tls/client.key" \
    -L "$url/health"
works bar etcdctl --endpoints="$url" --cacert "$tls/ca.crt" \
    --cert "$tls/client.crt" --key "$tls/client.key" get foo
stop

page "etcd, Transport security model: cipher suites"
cd "$tls"
serve etcd \
    --cert-file ./server.crt \
    --key-file ./server.key \
    --trusted-ca-file ./ca.crt \
    --cipher-suites TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 \
    --listen-client-urls "$url" --advertise-client-urls "$url"
works 'etcd_server_version\{server_version=' curl \
    --cacert ./ca.crt \
    --cert ./server.crt \
    --key ./server.key \
    -L "$url/metrics" \
    --ciphers ECDHE-RSA-AES128-GCM-SHA256
# With TLS 1.3, which the page is older than, the suites of 1.2 do not matter.
with() {
    curl -sS --tls-max 1.2 --cacert ./ca.crt --cert ./server.crt --key ./server.key \
        -L "$url/metrics" --ciphers "$1"
}
works 'etcd_server_version\{server_version=' with ECDHE-RSA-AES128-GCM-SHA256
# The page's suite has been dropped from openssl, so curl itself refuses it; the
# second is one that it still has, and the server was not told to speak.
refused "\((35|59)\)" with ECDHE-RSA-DES-CBC3-SHA
refused "\(35\).*alert handshake failure" with ECDHE-RSA-CHACHA20-POLY1305
stop
refused "TLS_RSA_WITH_RC4_128_SHA" etcd --cert-file ./server.crt --key-file ./server.key \
    --cipher-suites TLS_RSA_WITH_RC4_128_SHA \
    --listen-client-urls "$url" --advertise-client-urls "$url"
cd "$work"

page "etcd, Transport security model, example 3: a cluster"
# Several members come with the cluster, and are refused until then; one member
# with everything else that the example has is served.
member=(--peer-client-cert-auth --peer-trusted-ca-file="$tls/ca.crt"
    --peer-cert-file="$tls/server.crt" --peer-key-file="$tls/server.key"
    --initial-advertise-peer-urls="https://127.0.0.1:$peer_port"
    --listen-peer-urls="https://127.0.0.1:$peer_port")
client_urls=(--listen-client-urls "http://127.0.0.1:$port" --advertise-client-urls "http://127.0.0.1:$port")
refused "discovery" etcd --name infra1 --data-dir infra1 "${member[@]}" "${client_urls[@]}" \
    --discovery https://discovery.etcd.io/3e86b59982e49066c5d813af1c2e2579cbf573de
serve etcd --name infra1 --data-dir infra1 "${member[@]}" "${client_urls[@]}" \
    --initial-cluster "infra1=https://127.0.0.1:$peer_port"
works "https://127.0.0.1:$peer_port" etcdctl --endpoints="http://127.0.0.1:$port" member list
stop

page "etcd, Transport security model, example 4: automatic self-signed"
serve etcd --name infra2 --data-dir infra2 \
    --auto-tls --peer-auto-tls \
    --initial-advertise-peer-urls="https://127.0.0.1:$peer_port" --listen-peer-urls="https://127.0.0.1:$peer_port" \
    --initial-cluster "infra2=https://127.0.0.1:$peer_port" \
    --listen-client-urls "$url" --advertise-client-urls "$url"
refused "curl: \(60\) SSL certificate problem" curl "$url/v2/keys/foo" -Xput -d value=bar -v
works "HTTP/[12.]* 40[0-9]" curl -k "$url/v2/keys/foo" -Xput -d value=bar -v
works '"health":"true"' curl -sS -k "$url/health"
stop

page "etcd, Transport security model: DNS SRV, proxy"
refused "discovery-srv" etcd --discovery-srv=etcd.local "${client_urls[@]}"
refused "proxy" etcd --proxy on "${client_urls[@]}"

page "etcd, Transport security model: who a peer may be"
serve etcd --name infra3 --data-dir infra3 "${member[@]}" "${client_urls[@]}" \
    --initial-cluster "infra3=https://127.0.0.1:$peer_port" --peer-cert-allowed-cn etcd.local
stop

page "etcd, Transport security model: host whitelist"
serve etcd --name infra4 --data-dir infra4 "${client_urls[@]}" --host-whitelist "localhost,127.0.0.1"
works etcdserver curl -sS "http://127.0.0.1:$port/version"
works "CVE-2018-5702" curl -sS -H "Host: rebound.example" "http://127.0.0.1:$port/version"
works "HTTP/1.1 421" curl -sS -i -H "Host: rebound.example" "http://127.0.0.1:$port/version"
stop

page "etcd, Transport security model: questions"
# extendedKeyUsage = clientAuth, from openssl.cnf.
cd "$tls"
mkdir certs
touch index.txt
echo 1000 >serial
cat >openssl.cnf <<'CNF'
[ ca ]
default_ca = CA_default
[ CA_default ]
database = index.txt
serial = serial
new_certs_dir = certs
certificate = ca.crt
private_key = ca.key
default_md = sha256
default_days = 365
[ policy_anything ]
commonName = supplied
[ ssl_client ]
  extendedKeyUsage = clientAuth
CNF
works "" openssl req -new -newkey rsa:2048 -nodes -keyout certs/machine.key -out machine.csr -subj "/CN=machine"
works "" openssl ca -batch -config openssl.cnf -policy policy_anything -extensions ssl_client \
    -out certs/machine.crt -infiles machine.csr
works "" openssl x509 -req -days 365 -in machine.csr -CA ca.crt -CAkey ca.key -CAcreateserial \
    -out certs/server-only.crt -extfile <(printf "extendedKeyUsage=serverAuth")
cd "$work"
other=https://127.0.0.2:$port
serve etcd --name infra5 --data-dir infra5 \
    --client-cert-auth --trusted-ca-file="$tls/ca.crt" --cert-file="$tls/server.crt" --key-file="$tls/server.key" \
    --advertise-client-urls "$url" --listen-client-urls "$url,$other"
machine=(--key "$tls/certs/machine.key" --cacert "$tls/ca.crt")
works '"health":"true"' curl -sS --cert "$tls/certs/machine.crt" "${machine[@]}" "$url/health"
refused "alert" curl -sS --cert "$tls/certs/server-only.crt" "${machine[@]}" "$url/health"
# "certificate is valid for 127.0.0.1, not $MY_IP"
refused "x509: certificate is valid for 127.0.0.1, not 127.0.0.2" \
    etcdctl --endpoints="$other" --cert "$tls/certs/machine.crt" "${machine[@]}" get foo

page "etcd and TLS: etcdctl's environment"
export ETCDCTL_CACERT=$tls/ca.crt
export ETCDCTL_CERT=$tls/client.crt
export ETCDCTL_KEY=$tls/client.key
export ETCDCTL_ENDPOINTS=https://localhost:$port,$url
works "https://localhost:$port is healthy" etcdctl endpoint health
works "$url is healthy" etcdctl endpoint health
unset ETCDCTL_CACERT ETCDCTL_CERT ETCDCTL_KEY ETCDCTL_ENDPOINTS
stop

finish
