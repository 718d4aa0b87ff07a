#!/bin/sh
# Builds the CPU image for its tests, without a daemon and without a registry. Usage: ci-image.sh ENGINE_FOLDER
# What makes it impossible is said in ENGINE_FOLDER/unavailable, and the tests are skipped with it; this never fails.
set -u

engine=$1
here=$(CDPATH='' cd -- "$(dirname "$0")" && pwd -P)
mkdir -p "$engine"
rm -f "$engine/unavailable"

unavailable() {
    printf '%s\n' "$1" | tee "$engine/unavailable" >&2
    exit 0
}

for program in podman buildah crun unshare nsenter dpkg-query; do
    command -v $program >/dev/null 2>&1 || unavailable "no $program: apt-get install podman buildah crun"
done
sh "$here/base-images.sh" "$engine" >"$engine/base.log" 2>&1 ||
    unavailable "base images cannot be made: $(tail -n 1 "$engine/base.log")"
sh "$here/podman.sh" "$engine" podman run --rm localhost/basalt-build /bin/sh -c true >"$engine/try.log" 2>&1 ||
    unavailable "containers cannot run on this machine: $(tail -n 1 "$engine/try.log")"
cd "$here/.."
mkdir -p "$HOME/.m2"
began=$(date +%s)
sh "$here/podman.sh" "$engine" buildah bud --isolation chroot --network host --pull=never --format docker \
    --volume "$HOME/.m2:/root/.m2" --target cpu --tag localhost/basalt:cpu \
    --build-arg BUILD_IMAGE=localhost/basalt-build --build-arg CPU_IMAGE=localhost/basalt-base \
    --build-arg VERSION=ci --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" . \
    >"$engine/build.log" 2>&1 ||
    unavailable "the image cannot be built: $(grep -v '^ *$' "$engine/build.log" | tail -n 3 | tr '\n' ' ')"
echo "image built in $(($(date +%s) - began)) s:" \
    "$(sh "$here/podman.sh" "$engine" podman images --format '{{.Size}}' localhost/basalt:cpu)"
