#!/bin/sh
# Packs what gpu-check needs into one archive for a machine without Java or network: a small runtime, jars with the
# kernels, goldens and the small model. There: tar -xf, then basalt-gpu/check.
# usage: gpu-bundle.sh ROOT JDK
set -eu

root=$1
jdk=$2
bundle=$root/target/basalt-gpu
rm -rf "$bundle"
mkdir -p "$bundle/lib" "$bundle/engine/src/test/resources" "$bundle/models"
"$jdk/bin/jlink" --output "$bundle/jre" --strip-debug --no-man-pages --no-header-files --compress zip-0 \
    --add-modules java.base,java.logging,java.management,java.naming,java.xml,jdk.incubator.vector,jdk.unsupported
for jar in "$root"/server/target/lib/*.jar "$root"/engine/target/basalt-engine-*.jar \
    "$root"/native/target/basalt-native-*.jar; do
    case $jar in
        *jackson* | *jtokkit* | *jspecify* | *jcuda* | *jcublas* | *basalt-engine* | *basalt-native*) cp "$jar" "$bundle/lib" ;;
    esac
done
"$jdk/bin/jar" --create --file "$bundle/lib/gpu-check.jar" -C "$root/engine/target/test-classes" basalt
cp -R "$root/engine/src/test/resources/golden" "$bundle/engine/src/test/resources"
cp -R "$root/models/based-10m" "$bundle/models"
cp "$root/native/gpu-check.sh" "$bundle"
cat >"$bundle/check" <<'END'
#!/bin/sh
# Checks and measures this machine's GPU; arguments as in gpu-check.sh: [JSON [SECTION...]]
here=$(CDPATH='' cd -- "$(dirname "$0")" && pwd -P)
exec sh "$here/gpu-check.sh" "$here" "$here/jre/bin/java" "$(echo "$here"/lib/*.jar | tr ' ' ':')" "$@"
END
chmod +x "$bundle/check"
tar -C "$root/target" -cJf "$root/target/basalt-gpu.tar.xz" basalt-gpu
echo "$root/target/basalt-gpu.tar.xz"
