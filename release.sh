#!/bin/sh
# Makes a release: jars, their bill of materials and their checksums in target/release, twice from clean copies of the
# commit, and compares the two. Usage: ./release.sh VERSION
# It changes nothing in the working tree and publishes nothing; docs/OPERATIONS.md says what follows.
set -eu

[ $# = 1 ] || {
    echo "usage: ./release.sh VERSION, such as 0.1.0" >&2
    exit 2
}
version=$1
root=$(CDPATH='' cd -- "$(dirname "$0")" && pwd -P)
JAVA_HOME=$("$root/basalt" jdk)
export JAVA_HOME
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    printf 'release: %s\n' "$1" >&2
    exit 1
}

case $version in
    [0-9]*.[0-9]*.[0-9]*) ;;
    *) fail "$version is no version such as 0.1.0" ;;
esac
cd "$root"
[ -z "$(git status --porcelain)" ] || fail "there are changes that are not committed"
grep -q "^## $version" CHANGELOG.md || fail "CHANGELOG.md has no heading \"## $version\""

# Times in jars are that of the commit, so that whoever builds it again gets the same bytes.
time=$(TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ)

# build FOLDER: the commit, at the version, from a copy of its own.
build() {
    mkdir -p "$work/$1"
    git archive HEAD | tar -x -C "$work/$1"
    (
        cd "$work/$1"
        find . -name pom.xml -exec sed -i "s|<version>0.1.0-SNAPSHOT</version>|<version>$version</version>|" {} +
        mvn -B -ntp -q package -DskipTests -Djacoco.skip=true "-Dproject.build.outputTimestamp=$time" \
            -pl native,engine,server,bench
        mvn -B -ntp -q org.cyclonedx:cyclonedx-maven-plugin:2.9.1:makeAggregateBom -DoutputFormat=json \
            -DincludeTestScope=false "-Dproject.build.outputTimestamp=$time"
        mkdir release
        cp native/target/*.jar engine/target/basalt-engine-*.jar server/target/basalt-server-*.jar \
            bench/target/basalt-bench-*.jar release/
        cp target/bom.json "release/basalt-$version.sbom.json"
        cp CHANGELOG.md LICENSE SECURITY.md openapi.yaml release/
    )
}

build first
build second
for file in "$work"/first/release/*; do
    cmp "$file" "$work/second/release/$(basename "$file")" || fail "two builds of one commit differ"
done
rm -rf target/release
mkdir -p target
mv "$work/first/release" target/release
(
    cd target/release
    sha256sum -- * >SHA256SUMS
)
echo "release: target/release holds $version of $(git rev-parse --short HEAD), the same bytes from two builds:"
cat target/release/SHA256SUMS
