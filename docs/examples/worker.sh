#!/usr/bin/env bash
# A worker in bash 4.4 or newer with curl, and jq to read JSON. It says the words of input.text, one by one:
# DEED_URL=http://127.0.0.1:8080 DEED_API_KEY=deedk_... bash worker.sh demo.words
set -uo pipefail

url=${DEED_URL:-http://127.0.0.1:8080}
lease_seconds=${LEASE_SECONDS:-30} # how long it may be silent before another worker takes over
name=$HOSTNAME-$$
lease='' curl='' stopping='' polls=0 run=$(date +%s)-$$-$RANDOM$RANDOM

log() { echo "$name: $*" >&2; }
seconds() { printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)); } # of milliseconds

for program in curl jq; do
  command -v "$program" > /dev/null || { log "the program $program is missing"; exit 1; }
done
# Only this account can look into it: the key is in a file because everybody sees the arguments of curl.
directory=$(mktemp -d) || exit 1
trap 'rm -rf "$directory"' EXIT
echo "X-API-Key: ${DEED_API_KEY:-}" > "$directory/key"

# post PATH BODY: posts until there is an answer, and leaves it in $answer. What a worker says may be repeated: the
# server acts on it once. Fails where the server refuses, and leaves the code of the error in $refused.
post() {
  local pause=100 status asked file=$directory/$BASHPID
  while true; do
    curl -s -o "$file" -D "$file.head" -w '%{http_code}' --max-time 60 -H @"$directory/key" \
      -H 'Content-Type: application/json' --data-binary @- "$url$1" <<< "$2" > "$file.status" &
    curl=$!
    # A signal ends the wait, but not what is waited for.
    while kill -0 "$curl" 2> /dev/null; do wait "$curl"; done
    status=$(< "$file.status") answer=$(cat "$file" 2> /dev/null)
    case $status in
      2*) return 0 ;;
      401 | 403)
        log "this key can't do that: $answer"
        kill -HUP $$ # this may be the process that renews the lease
        exit 1 ;;
      4*)
        refused=$(jq -r .error <<< "$answer")
        [[ $status = 429 ]] || return 1 ;;
    esac
    log "$1 is tried again: ${answer:-nobody answers}"
    asked=$(sed -n 's/^[Rr]etry-[Aa]fter: *\([0-9]\{1,4\}\).*/\1/p' "$file.head" 2> /dev/null)
    sleep "$(seconds $((${asked:-0} * 1000 + RANDOM % pause)))"
    pause=$((pause < 5000 ? 2 * pause : 10000))
    rm -f "$file" "$file.head"
  done
}

# Renews the lease for as long as the worker lives; leaves a note when the action is lost or to be cancelled.
renew() {
  trap 'kill "$!" 2> /dev/null; exit' TERM
  while kill -0 $$ 2> /dev/null; do
    sleep "$(seconds $((lease_seconds * 1000 / 3)))" &
    wait "$!"
    post /leases/heartbeat "{\"lease_ids\": [\"$lease\"]}" || return
    jq -r '.leases[0] | if .ok | not then "lost" elif .cancel_requested then "cancelled" else empty end' \
      <<< "$answer" > "$directory/note"
  done
}

is_over() { [[ -n $stopping || -s $directory/note ]]; }

# What this worker is for: put your own work here. Takes the grant, and leaves the output in $output.
perform() {
  local grant=$1 next said delay word list words=() left
  next=$(jq .next_seq <<< "$grant")
  said=$(jq '.checkpoint.said // 0' <<< "$grant") # by earlier attempts
  delay=$(jq '.action.input.delay_ms // 0' <<< "$grant")
  list=$(jq -c --argjson said "$said" '.action.input.text | split(" ") | map(select(. != ""))[$said:][]' \
    <<< "$grant") || return 1
  [[ -z $list ]] || mapfile -t words <<< "$list"
  for word in "${words[@]}"; do
    # In short pieces, for the signal and the note are looked at between them.
    for ((left = delay; left > 0; left -= 100)); do
      is_over && return 1
      sleep "$(seconds $((left < 100 ? left : 100)))"
    done
    is_over && return 1
    said=$((said + 1))
    post "/leases/$lease/events" "{\"from_seq\": $next, \"checkpoint\": {\"said\": $said},
      \"events\": [{\"event\": \"message\", \"data\": {\"text\": $word}}]}" || return 1
    next=$(jq .next_seq <<< "$answer")
    [[ $(jq .cancel_requested <<< "$answer") = true ]] && return 1
  done
  output="{\"words\": $said}"
}

work() {
  local grant=$1 id renewer end body output refused=''
  id=$(jq -r .action.id <<< "$grant")
  lease=$(jq -r .lease_id <<< "$grant")
  : > "$directory/note"
  renew &
  renewer=$!
  if perform "$grant"; then
    end=complete body="{\"output\": $output}"
  elif [[ $stopping ]]; then
    end=release body='{}'
  else # what is cancelled ends as such: by a failure that may be retried
    end=fail body='{"error": {"code": "failed", "message": "It was not performed to its end."}, "retryable": true}'
  fi
  if [[ $refused = lease_lost || $(< "$directory/note") = lost ]] || ! post "/leases/$lease/$end" "$body"; then
    end=lost
  fi
  kill "$renewer" 2> /dev/null
  lease=''
  log "$id $end"
}

# While it polls it ends at once: the server grants nothing to a poll whose connection is gone.
trap '[[ -z $stopping ]] || exit 1; stopping=1; [[ -n $lease ]] || { kill "$curl" 2> /dev/null; exit 0; }' TERM INT
trap 'exit 1' HUP
types=$(jq -cn '$ARGS.positional' --args "$@")
while [[ -z $stopping ]]; do
  polls=$((polls + 1))
  if ! post /leases "{\"types\": $types, \"worker\": \"$name\", \"request_id\": \"$run-$polls\",
    \"wait_seconds\": 25, \"lease_seconds\": $lease_seconds}"; then
    log "$answer"
    exit 1
  fi
  grant=$(jq -c '.leases[0] // empty' <<< "$answer")
  [[ $(jq '.draining // false' <<< "$answer") = true ]] && sleep "$(seconds $((RANDOM % 1000)))"
  [[ -z $grant ]] || work "$grant"
done
