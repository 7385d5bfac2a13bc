#!/bin/sh
# Makes the connector of sport.json, or changes it to that, and waits until it runs. As often as you like.
#   CONNECT_URL=http://connect:8083 ./register.sh
set -eu
url="${CONNECT_URL:-http://127.0.0.1:8083}"
config="${1:-$(dirname "$0")/sport.json}"
tries="${CONNECT_TRIES:-60}"

again() {
    tries=$((tries - 1))
    if [ "$tries" -le 0 ]; then
        printf 'error: %s\n' "$1" >&2
        exit 1
    fi
    sleep 1
}

until curl -fsS -o /dev/null "$url/connectors" 2>/dev/null; do
    again "Kafka Connect does not answer at $url"
done
curl -fsS -o /dev/null -X PUT -H 'Content-Type: application/json' --data "@$config" "$url/connectors/sport/config"
while :; do
    status="$(curl -fsS "$url/connectors/sport/status" 2>/dev/null || true)"
    case "$status" in
        *FAILED*)
            printf 'error: the connector failed: %s\n' "$status" >&2
            exit 1
            ;;
        *'"tasks":[{'*'"state":"RUNNING"'*) break ;;
    esac
    again "the connector does not run: $status"
done
printf 'the connector runs\n'
