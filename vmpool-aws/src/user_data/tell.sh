# shellcheck shell=sh
# For the scripts that bring the machine up: what they do is told to the agent,
# which tells its runner, and on the console. Times are seconds since the start.
set -u
told=/run/vmpool/start

now() {
    read -r up _ </proc/uptime
    echo "$up"
}

# say NAME WORDS: something happened on the way.
say() {
    name=$1
    shift
    echo "vmpool: $name: $*" >/dev/console 2>/dev/null || :
}

# done_since TIME NAME: it is there, and took from then until now.
done_since() {
    up=$(now)
    echo "phase $1 $up $2" >>"$told"
    say "$2" "there, from $1 s to $up s"
}

# fetch CHECKSUM FILE ADDRESS...: the first that can be had and has the
# checksum, where one is given. Each is tried up to five times.
fetch() {
    want=$1
    file=$2
    shift 2
    try=0
    while [ "$try" -lt 5 ]; do
        for url in "$@"; do
            if ! download "$url" "$file.new" 2>"$file.err"; then
                say "${file##*/}" "$url: $(tail -n 1 "$file.err")"
            elif [ -n "$want" ] && ! echo "$want  $file.new" | sha256sum -c >/dev/null 2>&1; then
                say "${file##*/}" "$url has another checksum"
            else
                rm -f "$file.err"
                chmod 0755 "$file.new" && mv "$file.new" "$file"
                return
            fi
        done
        try=$((try + 1))
        sleep "$try"
    done
    rm -f "$file.new" "$file.err"
    return 1
}

download() {
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
