#!/bin/sh
# Makes certificates for a try of examples/secure, in the folder "certificates" or the one given. They are good for 30 days.
#
#   ./make-certificates.sh [FOLDER [HOST...]]
#
# The brokers' certificates are for localhost, 127.0.0.1, broker-1 to broker-3, and the HOSTs (names or IPv4 addresses) that you add. What is
# there already is kept, so that a second run makes only what is missing.
#
# In production let your PKI do this (SPIRE, cert-manager, Vault): brokers, callers and etcd notice renewed files by themselves. What is worth
# copying is who trusts whom. There are two authorities, since etcd takes the common name of a certificate for its user: whoever can have a
# certificate as a caller must not be able to have one in the name of root.
#
#   ca.pem              the authority of brokers and callers
#   broker-N.pem        what broker N shows to callers
#   shop.pem            a service:   spiffe://example.org/shop
#   operator.pem        an operator: spiffe://example.org/operator
#   agent.pem           an agent:    spiffe://example.org/agent
#   outsider.pem        somebody whom no rule of the policy names
#   etcd-ca.pem         the authority of etcd and its users
#   etcd.pem            what etcd shows
#   etcd-root.pem       etcd's administrator, for etcd-role.sh
#   etcd-broker.pem     the brokers, whose user in etcd is tokenbroker
#
# Each has its key beside it: NAME-key.pem.
set -eu
umask 077

folder=${1:-certificates}
[ $# -eq 0 ] || shift
mkdir -p "$folder"
cd "$folder"

days=30
brokers=DNS:localhost,IP:127.0.0.1,DNS:broker-1,DNS:broker-2,DNS:broker-3
for host in "$@"; do
	case $host in
	*[!0-9.]*) brokers=$brokers,DNS:$host ;;
	*) brokers=$brokers,IP:$host ;;
	esac
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '[req]\ndistinguished_name = name\nprompt = no\n[name]\nCN = unused\n' >"$work/req"

# request NAME CN: a key, and a request for it.
request() {
	openssl ecparam -name prime256v1 -genkey -noout -out "$1-key.pem"
	openssl req -new -sha256 -config "$work/req" -key "$1-key.pem" -subj "/CN=$2" -out "$work/csr"
}

# sign NAME OPTION...: the certificate for the last request. openssl tells of success where others tell of failure.
sign() {
	name=$1
	shift
	openssl x509 -req -sha256 -in "$work/csr" -set_serial "0x$(openssl rand -hex 15)" -days $days -extfile "$work/extensions" -out "$work/cert" "$@" \
		2>"$work/said" || { cat "$work/said" >&2; exit 1; }
	mv "$work/cert" "$name.pem"
}

# authority NAME CN
authority() {
	[ ! -e "$1.pem" ] || return 0
	request "$1" "$2"
	printf 'basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\nsubjectKeyIdentifier = hash\n' >"$work/extensions"
	sign "$1" -signkey "$1-key.pem"
}

# certificate NAME CN AUTHORITY USAGE [SUBJECT-ALTERNATIVE-NAMES]
certificate() {
	[ ! -e "$1.pem" ] || return 0
	request "$1" "$2"
	{
		printf 'basicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\nextendedKeyUsage = %s\n' "$4"
		[ $# -lt 5 ] || printf 'subjectAltName = %s\n' "$5"
	} >"$work/extensions"
	sign "$1" -CA "$3.pem" -CAkey "$3-key.pem"
}

authority ca "trial authority"
for n in 1 2 3; do
	certificate broker-$n "broker-$n" ca serverAuth "$brokers"
done
for who in shop operator agent outsider; do
	certificate $who $who ca clientAuth URI:spiffe://example.org/$who
done

authority etcd-ca "trial authority of etcd"
certificate etcd etcd-server etcd-ca serverAuth,clientAuth DNS:localhost,IP:127.0.0.1
certificate etcd-root root etcd-ca clientAuth
certificate etcd-broker tokenbroker etcd-ca clientAuth

echo "certificates are in $(pwd)"
