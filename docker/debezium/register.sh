#!/bin/sh
# Makes the connector of sport.json, or changes it to that, and waits until it runs. As often as you like.
#   CONNECT_URL=http://connect:8083 ./register.sh
# The worker reads the password itself, from its own environment, and so must have
#   config.providers=env
#   config.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider
set -eu
url="${CONNECT_URL:-http://127.0.0.1:8083}"
name="${CONNECT_NAME:-sport}"
config="${1:-$(dirname "$0")/sport.json}"
tries="${CONNECT_TRIES:-60}"

# A Docker client hands its proxies to every container; none of them reaches the worker.
call() { curl -fsS --noproxy '*' --connect-timeout 5 --max-time 30 "$@"; }

again() {
    tries=$((tries - 1))
    if [ "$tries" -le 0 ]; then
        printf 'error: %s\n' "$1" >&2
        exit 1
    fi
    sleep 1
}

until call -o /dev/null "$url/connectors" 2>/dev/null; do
    again "Kafka Connect does not answer at $url"
done
if ! call -o /dev/null -X PUT -H 'Content-Type: application/json' --data "@$config" "$url/connectors/$name/config"; then
    printf 'error: Kafka Connect refuses %s; does the worker have config.providers=env?\n' "$config" >&2
    exit 1
fi
while :; do
    status="$(call "$url/connectors/$name/status" 2>/dev/null || true)"
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
