#!/bin/sh
# Brings the agent to where its unit expects it: the image's, if there is one,
# else the first download that has the checksum. Arguments: checksum, addresses.
# shellcheck source=tell.sh
. /usr/local/lib/vmpool/tell
agent=/usr/local/bin/lite-engine
began=$(now)
# From the clock until here it was cloud-init's own doing.
armed=$(sed -n 's/^phase [^ ]* \([^ ]*\) clock$/\1/p' "$told")
echo "phase ${armed:-0} $began cloud-init" >>"$told"
checksum=$1
shift
if [ -x "$agent" ]; then
    say agent "the image has it"
elif ! fetch "$checksum" "$agent" "$@"; then
    say agent "not to be had"
    exit 1
fi
done_since "$began" agent
