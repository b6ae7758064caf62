#!/bin/sh
# Brings what the machine needs beside its agent, all at the same time. What is
# there already is left alone. /etc/vmpool/extras has a line for each:
# "docker install", "docker require", "git install", or a companion program of
# the incumbent's: "NAME FILE ADDRESS...", without which builds get along.
# shellcheck source=tell.sh
. /usr/local/lib/vmpool/tell
# In which nothing has come, it will not come any more.
limit=240

# One packet manager at a time, and not beside the image's own start-up.
install() {
    (
        flock 9
        if command -v apt-get >/dev/null; then
            export DEBIAN_FRONTEND=noninteractive
            timeout "$limit" sh -c 'apt-get -o DPkg::Lock::Timeout=120 update -q &&
                apt-get -o DPkg::Lock::Timeout=120 install -qy --no-install-recommends "$@"' sh "$@"
        elif command -v dnf >/dev/null; then
            timeout "$limit" dnf install -qy "$@"
        else
            timeout "$limit" yum install -qy "$@"
        fi
    ) 9>/run/vmpool/packages.lock
}

# program NAME HOW PACKAGE...: a program that pools require.
program() {
    name=$1
    how=$2
    shift 2
    began=$(now)
    log=/run/vmpool/$name.log
    if ! command -v "$name" >/dev/null; then
        if [ "$how" = require ]; then
            echo "failed $name the image has no $name, and the pool requires that it has" >>"$told"
            return
        fi
        say "$name" "is installed"
        if ! install "$@" >"$log" 2>&1; then
            echo "failed $name it can't be installed: $(tail -n 1 "$log")" >>"$told"
            say "$name" "it can't be installed: $(tail -n 1 "$log")"
            return
        fi
    fi
    if [ "$name" = docker ] && ! timeout "$limit" systemctl start docker >"$log" 2>&1; then
        echo "failed $name it does not start: $(tail -n 1 "$log")" >>"$told"
        return
    fi
    done_since "$began" "$name"
}

companion() {
    name=$1
    file=$2
    shift 2
    began=$(now)
    if [ ! -x "$file" ]; then
        mkdir -p "${file%/*}"
        fetch "" "$file" "$@" || say "$name" "goes without: not to be had"
    fi
    done_since "$began" "$name"
}

docker=docker.io
command -v apt-get >/dev/null || docker=docker
while read -r name rest; do
    # Addresses have no blanks.
    # shellcheck disable=SC2086
    case $name in
        docker) program docker "$rest" "$docker" </dev/null & ;;
        git) program git "$rest" git </dev/null & ;;
        *) companion "$name" $rest </dev/null & ;;
    esac
done </etc/vmpool/extras
wait
