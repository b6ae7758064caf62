# Puts the PostgreSQL server that this host has installed into the tar file of a
# container image, which is used as the public one is: POSTGRES_USER,
# POSTGRES_PASSWORD and POSTGRES_DB, data in /var/lib/postgresql/data.
#
#   postgres.sh FOLDER      makes FOLDER/postgres.tar
set -eu
out=$1/postgres.tar
root=$1/root
bin=$(dirname "$(find /usr/lib/postgresql -name pg_ctl | sort -V | tail -n 1)")
lib=$(dirname "$bin")
share=/usr/share/postgresql/$(basename "$lib")

rm -rf "$root"
mkdir -p "$root/bin" "$root/etc" "$root/tmp" "$root/run/postgresql" "$root/var/lib/postgresql/data"
chmod 1777 "$root/tmp" "$root/run/postgresql"
# Debian's server, and all who look for it, have its socket below /var/run.
ln -s /run "$root/var/run"
# PostgreSQL was built for the time zones of the system.
cp --recursive --parents "$lib" "$share" /usr/share/zoneinfo "$root"
find "$bin" "$lib/lib" -type f \( -perm -u+x -o -name '*.so' \) -exec ldd {} + 2>/dev/null |
    awk '/=> \// { print $3 } /ld-linux/ { print $1 }' | sort -u | while read -r library; do
    cp --dereference --parents "$library" "$root"
done
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in sh su id chown rm cat; do ln -s busybox "$root/bin/$applet"; done
printf 'root:x:0:0:root:/:/bin/sh\npostgres:x:70:70:postgres:/var/lib/postgresql:/bin/sh\n' > "$root/etc/passwd"
printf 'root:x:0:\npostgres:x:70:\n' > "$root/etc/group"

cat > "$root/bin/entrypoint" <<'END'
#!/bin/sh
set -eu
data=/var/lib/postgresql/data
if [ "$(id -u)" = 0 ]; then
    chown postgres:postgres "$data"
    exec su postgres -s /bin/sh -c 'exec /bin/entrypoint'
fi
if [ ! -e "$data/PG_VERSION" ]; then
    umask 077
    echo "$POSTGRES_PASSWORD" > /tmp/password
    initdb --pgdata "$data" --username "$POSTGRES_USER" --pwfile /tmp/password \
        --auth scram-sha-256 --auth-local trust --locale C --encoding UTF8
    rm /tmp/password
    echo 'host all all all scram-sha-256' >> "$data/pg_hba.conf"
    pg_ctl --pgdata "$data" --options '-c listen_addresses=' --wait start
    createdb --username "$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl --pgdata "$data" --mode fast --wait stop
fi
exec postgres -D "$data" -c 'listen_addresses=*'
END
chmod 755 "$root/bin/entrypoint"
echo "PATH=$bin:/bin" > "$1/path"
tar --create --owner 0 --group 0 --directory "$root" --file "$out" .
rm -rf "$root"
