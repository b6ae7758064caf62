# The machine's first act: a timer that ends it unless a runner has come by
# then. Arguments: its seconds, then what the machine must have before it is
# ready. Neither the timer nor its service waits for any other unit: at this
# time the system is not up, and it may never be.
read -r now _ </proc/uptime
systemd-run --no-block --unit=vmpool-boot-clock --on-active="$1" \
    --timer-property=DefaultDependencies=no --property=DefaultDependencies=no \
    sh -c 'test -e /var/lib/lite-engine/identity/enrolled || systemctl poweroff'
read -r armed _ </proc/uptime
mkdir -p /run/vmpool
{
    echo "phase 0 $now system"
    echo "phase $now $armed clock"
    shift
    for name in "$@"; do
        echo "awaits $name"
    done
} >/run/vmpool/start
echo "vmpool: clock: armed after $armed s" >/dev/console
