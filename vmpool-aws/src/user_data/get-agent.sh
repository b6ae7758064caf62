#!/bin/sh
# Brings the agent to where its unit expects it: the image's, if there is one,
# else the first download that has the checksum. Arguments: checksum, addresses.
set -u
agent=/usr/local/bin/lite-engine
phase() {
    line="vmpool: $(date -u +%FT%TZ) $*"
    echo "$line" >>/run/vmpool/phases
    echo "$line" >/dev/console 2>/dev/null || :
}
mkdir -p /run/vmpool
if [ -x "$agent" ]; then
    phase "agent: the image has it"
    exit 0
fi
want=$1
shift
fetch() {
    if command -v curl >/dev/null; then
        curl -fsSL --connect-timeout 5 --max-time 120 -o "$2" "$1"
    elif command -v wget >/dev/null; then
        wget -q -T 30 -t 1 -O "$2" "$1"
    else
        python3 -c 'import shutil, sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=30) as found, open(sys.argv[2], "wb") as kept:
    shutil.copyfileobj(found, kept)' "$1" "$2"
    fi
}
try=0
while [ "$try" -lt 5 ]; do
    for url in "$@"; do
        phase "agent: from $url"
        if fetch "$url" "$agent.new" 2>/run/vmpool/fetch.err; then
            if [ -z "$want" ] || echo "$want  $agent.new" | sha256sum -c >/dev/null 2>&1; then
                chmod 0755 "$agent.new" && mv "$agent.new" "$agent"
                phase "agent: there"
                exit 0
            fi
            phase "agent: $url has another checksum"
        else
            phase "agent: $url failed: $(tail -n 1 /run/vmpool/fetch.err)"
        fi
    done
    try=$((try + 1))
    sleep "$try"
done
rm -f "$agent.new"
phase "agent: not to be had"
exit 1
