#!/bin/sh
# Prints a token of the broker, with curl and sed:
#
#	examples/curl/print_token.sh [BROKER [NAME [report]]]
#
# With jq there is less to it: curl -sf http://127.0.0.1:7710/v1/tokens/demo-stable | jq -r .token.accessToken
set -eu
url=${1:-http://127.0.0.1:7710}/v1/tokens/${2:-demo-stable}

# ask SECONDS ARGUMENTS... prints the answer. An error of the broker's, a google.rpc.Status, goes to standard error.
ask() {
	seconds=$1
	shift
	curl --silent --show-error --fail-with-body --max-time "$seconds" "$@" || {
		status=$?
		echo >&2
		return $status
	}
}

# field NAME reads a text out of JSON.
field() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p"; }

token=$(ask 5 "$url") || { echo "$token" >&2; exit 1; }
if [ $# -gt 2 ]; then # WeChat answered 40001, 40014 or 42001
	version=$(echo "$token" | field version)
	token=$(ask 35 "$url:reportInvalid" --header 'Content-Type: application/json' --data "{\"version\":\"$version\"}") || { echo "$token" >&2; exit 1; }
fi
printf '%s, version %s, %.0fs left: %.8s...\n' "$(echo "$token" | field name)" "$(echo "$token" | field version)" \
	"$(echo "$token" | field ttl | tr -d s)" "$(echo "$token" | field accessToken)"
