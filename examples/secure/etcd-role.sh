#!/bin/sh
# Gives the brokers a user in etcd that may touch their own keys and nothing else, and switches etcd's authentication on.
#
#   ./etcd-role.sh [NAMESPACE [USER]]            # /tokenbroker/ and tokenbroker
#
# It is run by etcd's administrator, once; running it again changes nothing. etcdctl finds etcd by its own variables:
#
#   ETCDCTL_ENDPOINTS=https://127.0.0.1:2379 ETCDCTL_CACERT=etcd-ca.pem ETCDCTL_CERT=etcd-root.pem ETCDCTL_KEY=etcd-root-key.pem
#
# Users have no passwords: etcd (with --client-cert-auth) takes the common name of the client's certificate for the user. So whoever runs this
# must have a certificate in the name of root: nobody else can administer etcd from then on.
#
# Before you switch authentication on in an etcd that serves others: give each of them a user first.
set -eu

namespace=${1:-/tokenbroker/}
user=${2:-tokenbroker}
case $namespace in
/*/) ;;
*) echo "the namespace $namespace is not a path between two slashes" >&2; exit 64 ;;
esac

has() { etcdctl "$1" list | grep -qx "$2"; }

has role "$user" || etcdctl role add "$user"
etcdctl role grant-permission "$user" readwrite "$namespace" --prefix
has user "$user" || etcdctl user add "$user" --no-password
etcdctl user grant-role "$user" "$user"

has user root || etcdctl user add root --no-password
etcdctl user grant-role root root
etcdctl auth enable
