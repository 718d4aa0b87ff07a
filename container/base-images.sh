#!/bin/sh
# Makes the base images of the Dockerfile out of the packages that a Debian or Ubuntu machine has installed, for places
# that reach no registry. Usage: base-images.sh ENGINE_FOLDER, then
#   buildah bud --pull=never --build-arg BUILD_IMAGE=localhost/basalt-build --build-arg CPU_IMAGE=localhost/basalt-base
#
#   localhost/basalt-base   what distroless/base holds as far as Basalt needs it: glibc, time zones, one user
#   localhost/basalt-build  JDK 25, Maven and the tools of container/assemble.sh
#
# and where nvcc is, for --target cuda with --build-arg CUDA_BUILD_IMAGE=localhost/basalt-cuda-build
# --build-arg CUDA_IMAGE=localhost/basalt-cuda-base and --volume of CUDA's folder, which is too large to import:
#
#   localhost/basalt-cuda-build  compilers
#   localhost/basalt-cuda-base   the base and what C++ needs, as NVIDIA's image has, without its libraries
set -eu

engine=$1
here=$(CDPATH='' cd -- "$(dirname "$0")" && pwd -P)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The files of installed packages.
files_of() {
    dpkg-query -L "$@" | sort -u | while IFS= read -r file; do
        if [ -L "$file" ] || [ -f "$file" ]; then
            case $file in
                /usr/share/doc/* | /usr/share/man/* | /usr/share/locale/* | /usr/share/info/* | /usr/share/lintian/*) ;;
                *) printf '%s\n' "$file" ;;
            esac
        fi
    done
}

# An empty root with the folders that must be there.
root() {
    mkdir -p "$1/usr/bin" "$1/usr/sbin" "$1/usr/lib" "$1/usr/lib64" "$1/etc" "$1/tmp" "$1/root" "$1/proc" "$1/sys" "$1/dev"
    for folder in bin sbin lib lib64; do
        ln -s "usr/$folder" "$1/$folder"
    done
    chmod 1777 "$1/tmp"
    printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n' >"$1/etc/passwd"
    printf 'root:x:0:\nnonroot:x:65532:\n' >"$1/etc/group"
    printf 'hosts: files dns\n' >"$1/etc/nsswitch.conf"
}

add_packages() {
    folder=$1
    shift
    files_of "$@" | tar -c -C / --no-recursion -T - 2>/dev/null | tar -x -C "$folder"
}

# import ROOT NAME [CHANGE...]
import() {
    folder=$1
    name=$2
    shift 2
    tar -c -C "$folder" . | sh "$here/podman.sh" "$engine" podman import -q "$@" - "$name" >/dev/null
}

# Maven and all that its jars need, without the Java that Debian would have it run on.
maven_packages() {
    apt-cache depends --recurse --installed --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
        --no-enhances maven | grep '^[a-z]' | grep -v -e jre -e jdk -e java-runtime -e ^java
}

cuda_images() {
    build=$work/cuda-build
    root "$build"
    # shellcheck disable=SC2046 # package names are words
    add_packages "$build" $tools $(compilers)
    ln -sf dash "$build/usr/bin/sh"
    ln -sf mawk "$build/usr/bin/awk"
    mkdir -p "$build/usr/local/bin"
    printf '#!/bin/sh\nexec %s/bin/nvcc "$@"\n' "$1" >"$build/usr/local/bin/nvcc"
    chmod +x "$build/usr/local/bin/nvcc"
    import "$build" localhost/basalt-cuda-build
    add_packages "$base" libstdc++6
    import "$base" localhost/basalt-cuda-base
}

# What native/build.sh calls beside nvcc, as far as it is installed, with all it needs.
compilers() {
    apt-cache depends --recurse --installed --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
        --no-enhances g++ binutils unzip | grep '^[a-z]'
}

tools='libc6 libgcc-s1 libcrypt1 dash bash coreutils findutils grep sed tar gzip mawk debianutils util-linux base-files
    zlib1g libselinux1 libpcre2-8-0 libacl1 libattr1 libgmp10 libtinfo6'
base=$work/base
root "$base"
add_packages "$base" libc6 libgcc-s1 libcrypt1 tzdata netbase base-files
import "$base" localhost/basalt-base

build=$work/build
root "$build"
# shellcheck disable=SC2046 # package names are words
add_packages "$build" $tools $(maven_packages)
ln -sf dash "$build/usr/bin/sh"
ln -sf /usr/share/maven/bin/mvn "$build/usr/bin/mvn"
ln -sf mawk "$build/usr/bin/awk"
jdk=$("$here/../basalt" jdk)
mkdir -p "$build/usr/lib/jvm/jdk-25"
# Links too, as packages keep the certificates elsewhere.
cp -rL "$jdk/." "$build/usr/lib/jvm/jdk-25/"
import "$build" localhost/basalt-build --change ENV=JAVA_HOME=/usr/lib/jvm/jdk-25

cuda=$(sh "$here/cuda-folder.sh")
[ -z "$cuda" ] || cuda_images "$cuda"
