#!/bin/bash
# Copies what cannot be made again, while everything runs: bronze, then the embedded broker's log if there is one, then
# what roles keep beside them (journals, users, keys).
#   backup.sh /var/lib/sportlake/data /backup/monday
# The lake is expected at DATA/lake, the broker at DATA/broker. docs/operations.md says why in this order, and how to
# bring it back.
set -euo pipefail
# It holds what the lake holds of people.
umask 077

if [ "$#" -ne 2 ]; then
    printf 'usage: %s DATA DESTINATION\n' "$0" >&2
    exit 2
fi
data="$(cd "$1" && pwd)"
to="$2"
fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}
[ -f "$data/lake/_format" ] || fail "there is no lake in \"$data\""
[ ! -e "$to" ] || fail "\"$to\" is there already"
mkdir -p "$to/lake"
to="$(cd "$to" && pwd)"
cp -p "$data/lake/_format" "$to/lake/"

# Files in the middle of being written end in #N. Of one that grows, its beginning is enough: tar ends with 1 then.
copy() {
    local from="$1" into="$2"
    shift 2
    (
        cd "$from"
        find . -type f ! -name '*#*' "$@" -print0 | sort -z \
            | { tar --null --files-from=- --warning=no-file-changed -cf - || [ "$?" -eq 1 ]; }
    ) | tar -C "$into" -xpf -
}

# A log names files that are there already, so the log comes first.
mkdir "$to/lake/bronze"
copy "$data/lake/bronze" "$to/lake/bronze" -path '*/_delta_log/*'
for log in "$to"/lake/bronze/*/_delta_log; do
    expected=""
    for entry in "$log"/*.json; do
        version="$(basename "$entry" .json)"
        case "$version" in *[!0-9]*) continue ;; esac
        version=$((10#$version))
        if [ -n "$expected" ] && [ "$version" -ne "$expected" ]; then
            fail "version $expected of \"$log\" is not in the copy: remove it, and copy again"
        fi
        expected=$((version + 1))
    done
done
copy "$data/lake/bronze" "$to/lake/bronze" -not -path '*/_delta_log/*'

# The broker last: it must hold whatever bronze has not taken in yet.
if [ -d "$data/broker" ]; then
    mkdir "$to/broker"
    # A checkpoint trusts what is synced already, so it comes before its log.
    copy "$data/broker" "$to/broker" -name checkpoint
    copy "$data/broker" "$to/broker" ! -name checkpoint
fi
copy "$data" "$to" -not -path './lake/*' -not -path './broker/*'
sync -f "$to"
printf 'copied to %s\n' "$to"
