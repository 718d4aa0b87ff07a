#!/bin/sh
# Builds the images for their tests, without a daemon and without a registry. Usage: ci-image.sh ENGINE_FOLDER
# What a machine lacks for it is said in ENGINE_FOLDER/unavailable, for the CUDA image in ENGINE_FOLDER/unavailable-cuda, and
# the tests are skipped with it; a build that fails is told in ENGINE_FOLDER/failed, and the tests fail. This never does.
set -u

engine=$1
here=$(CDPATH='' cd -- "$(dirname "$0")" && pwd -P)
mkdir -p "$engine"
rm -f "$engine/unavailable" "$engine/unavailable-cuda" "$engine/failed"

unavailable=$engine/unavailable
unavailable() {
    printf '%s\n' "$1" | tee "$unavailable" >&2
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

# build TARGET OPTIONS...: tags localhost/basalt:TARGET. What both targets begin with is made once. The label of the source
# stays unknown: the address that a clone came from may have a password in it, and this image is not published.
build() {
    target=$1
    shift
    began=$(date +%s)
    sh "$here/podman.sh" "$engine" buildah bud --layers --isolation chroot --network host --pull=never --format docker \
        --volume "$HOME/.m2:/root/.m2" --target "$target" --tag "localhost/basalt:$target" \
        --build-arg BUILD_IMAGE=localhost/basalt-build --build-arg CPU_IMAGE=localhost/basalt-base \
        --build-arg VERSION=ci --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
        --build-arg CREATED="$(git log -1 --format=%cI 2>/dev/null || echo unknown)" "$@" . \
        >"$engine/build-$target.log" 2>&1 || return 1
    echo "image $target built in $(($(date +%s) - began)) s:" \
        "$(sh "$here/podman.sh" "$engine" podman images --format '{{.Size}}' "localhost/basalt:$target")"
}

# failed TARGET: what its build says last.
failed() {
    printf 'image %s cannot be built: %s\n' "$1" "$(grep -v '^ *$' "$engine/build-$1.log" | tail -n 3 | tr '\n' ' ')" |
        tee "$engine/failed" >&2
    exit 0
}

build cpu || failed cpu

unavailable=$engine/unavailable-cuda
cuda=$(sh "$here/cuda-folder.sh")
[ -n "$cuda" ] || unavailable "no nvcc, g++, nm or unzip to build kernels with"
build cuda --volume "$cuda:$cuda:ro" --build-arg CUDA_BUILD_IMAGE=localhost/basalt-cuda-build \
    --build-arg CUDA_IMAGE=localhost/basalt-cuda-base || failed cuda
