#!/bin/sh
# Start the NFS server: check the container, prepare the volume, then become nfs-ganesha. Exit code 78 means that the
# container is set up wrongly, and the last line names the fault.
set -eu
here=$(dirname "$0")
volume=/var/lib/push/nfs
user=10001

fail() {
  echo "imageserver.nfs: $1" >&2
  exit 78
}

# Names and bits of capabilities(7). Without one of them, some operations of clients fail, and not the start.
effective=$((0x$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)))
missing=
for capability in CHOWN:0 DAC_OVERRIDE:1 DAC_READ_SEARCH:2 FOWNER:3 SETGID:6 SETUID:7; do
  [ $((effective >> ${capability#*:} & 1)) = 1 ] || missing="$missing ${capability%:*}"
done
[ -z "$missing" ] || fail "missing capabilities:$missing. Add them to the container (cap_add, capabilities.add)."

clients=${NFS_CLIENTS:-}
case $clients in
  '' | *[!0-9a-fA-F.:/,]*)
    fail "NFS_CLIENTS: invalid value \"$clients\". Use addresses and networks of the clients: 10.0.0.0/16,10.1.0.7."
    ;;
esac

[ -d "$volume" ] || fail "no volume is mounted at $volume"
kind=$(stat --file-system --format=%T "$volume")
[ "$kind" != overlayfs ] || fail "$volume is on overlayfs, which has no file handles. Mount a volume there."

mkdir -p "$volume/files" "$volume/recovery" || fail "can't write to $volume"
chown "$user:$user" "$volume/files"
# Clients reach the files through the server, which acts as $user. No other user of this machine needs access to them.
chmod 750 "$volume/files"

# The readiness check comes from 127.0.0.1.
sed "s|@CLIENTS@|127.0.0.1, $(echo "$clients" | sed 's/,/, /g')|" "$here/ganesha.conf" >/tmp/ganesha.conf
exec ganesha.nfsd -F -L /dev/stdout -p /tmp/ganesha.pid -f /tmp/ganesha.conf
