# Starts and stops the server in DATA as its standard input says, a word a line,
# and answers each with a line. When the input ends, as it does however the test
# process ended, the server is stopped and FOLDER removed.
folder=$1 pg_ctl=$2 options=$3
data=$folder/data log=$folder/log
trap '' INT TERM HUP
# A killed server leaves the lock that keeps two off one folder. Nobody may be
# there to reap it, and to another server it is alive then.
unlock() {
    segment=$(sed -n '7s/.* //p' "$data/postmaster.pid" 2>/dev/null)
    [ -z "$segment" ] || ipcrm -m "$segment"
    rm -f "$data/postmaster.pid"
}
while read -r word; do
    case $word in
    start) "$pg_ctl" start -D "$data" -l "$log" -w -t 60 -o "$options" ;;
    unlock) unlock ;;
    stop) "$pg_ctl" stop -D "$data" -m fast -w -t 60 ;;
    esac >>"$folder/pg_ctl" 2>&1 && echo done || echo failed
done
"$pg_ctl" stop -D "$data" -m immediate -w -t 20 >/dev/null 2>&1
unlock 2>/dev/null
rm -rf "$folder"
