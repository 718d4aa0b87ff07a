#!/bin/sh
# Runs podman or buildah where there may be no user session, no systemd and no cgroups of their own: a program in a
# container of continuous integration, say. Usage: podman.sh FOLDER COMMAND..., such as
#   podman.sh target/engine podman run --rm --network host basalt:cpu
#
# Images and containers are kept below FOLDER. All commands of one folder run in one mount namespace, which the first of
# them makes and "podman.sh FOLDER stop" ends: it hides the unified cgroup hierarchy, which crun refuses beside the old
# ones, and gives /run to the engine alone. Containers take the network of the machine (--network host), so nothing of
# it has to be changed.
set -eu

mkdir -p "$1"
folder=$(CDPATH='' cd -- "$1" && pwd -P)
shift
holder=$folder/holder

settings() {
    cat >"$folder/containers.conf" <<END
[containers]
cgroups = "disabled"
netns = "host"
# Below what machines have, as raising a limit may not be allowed.
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
[network]
network_backend = "netavark"
END
    cat >"$folder/storage.conf" <<END
[storage]
driver = "overlay"
graphroot = "$folder/images"
runroot = "$folder/run"
END
    cat >"$folder/policy.json" <<END
{"default": [{"type": "insecureAcceptAnything"}]}
END
    : >"$folder/registries.conf"
}

is_held() {
    [ -s "$holder" ] && kill -0 "$(cat "$holder")" 2>/dev/null
}

# The holder does nothing but keep the namespace. It, and what watches containers, outlive this script: they must not
# inherit what its caller has open, such as a lock.
hold() {
    settings
    rm -f "$folder/held"
    unshare --mount --propagation private sh -c '
        umount /sys/fs/cgroup/unified 2>/dev/null || true
        mount -t tmpfs none /run
        mkdir -p /run/lock /run/netns
        : >"$1/held"
        exec sleep 100000' holder "$folder" </dev/null >/dev/null 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
    echo $! >"$holder"
    tries=0
    until [ -e "$folder/held" ]; do
        tries=$((tries + 1))
        if [ $tries -gt 1200 ] || ! is_held; then
            echo "podman.sh: this machine lets no mount namespace be made" >&2
            exit 1
        fi
        sleep 0.05
    done
}

if [ "$1" = stop ]; then
    if is_held; then
        nsenter -m -t "$(cat "$holder")" sh -c '
            CONTAINERS_CONF=$1/containers.conf CONTAINERS_STORAGE_CONF=$1/storage.conf podman rm -f -a -t 0 >/dev/null 2>&1 || true
            umount "$1/images/overlay" 2>/dev/null || true' stop "$folder"
        kill "$(cat "$holder")"
    fi
    rm -f "$holder"
    exit 0
fi

is_held || hold
export CONTAINERS_CONF="$folder/containers.conf" CONTAINERS_STORAGE_CONF="$folder/storage.conf"
export CONTAINERS_REGISTRIES_CONF="$folder/registries.conf" TMPDIR="$folder"
exec nsenter -m -t "$(cat "$holder")" --wd="$PWD" "$@" 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
