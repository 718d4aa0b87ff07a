#!/bin/sh
# Packs what gpu-check and gpu-http need into one archive for a machine without Java or network: a small runtime, jars
# with the kernels, goldens and the small model. There: tar -xf, then basalt-gpu/check or basalt-gpu/http.
# usage: gpu-bundle.sh ROOT JDK
set -eu

root=$1
jdk=$2
bundle=$root/target/basalt-gpu
modules=java.base,java.logging,java.management,java.naming,java.net.http,java.security.sasl,java.sql,java.xml,
modules=${modules}jdk.crypto.ec,jdk.incubator.vector,jdk.jfr,jdk.management,jdk.unsupported
rm -rf "$bundle"
mkdir -p "$bundle/lib" "$bundle/engine/src/test/resources" "$bundle/models"
"$jdk/bin/jlink" --output "$bundle/jre" --strip-debug --no-man-pages --no-header-files --compress zip-0 \
    --add-modules "$modules"
cp "$root"/bench/target/lib/*.jar "$root"/bench/target/basalt-bench-*.jar "$bundle/lib"
"$jdk/bin/jar" --create --file "$bundle/lib/gpu-check.jar" -C "$root/engine/target/test-classes" basalt
# JCuda's PTX compiler, 24 MB, is never loaded.
for natives in "$bundle"/lib/jcuda-natives-*.jar; do
    rm -rf "$bundle/natives"
    mkdir "$bundle/natives"
    (cd "$bundle/natives" && "$jdk/bin/jar" --extract --file "$natives" && rm lib/libJNvPTXCompiler-*)
    "$jdk/bin/jar" --create --file "$natives" -C "$bundle/natives" .
    rm -r "$bundle/natives"
done
cp -R "$root/engine/src/test/resources/golden" "$bundle/engine/src/test/resources"
cp -R "$root/models/based-10m" "$bundle/models"
cp "$root/native/gpu-check.sh" "$root/native/gpu-http.sh" "$bundle"
"$root/basalt" vm-options cuda >"$bundle/vm-options"
cat >"$bundle/check" <<'END'
#!/bin/sh
# Checks and measures this machine's GPU; arguments as in gpu-check.sh: [JSON [SECTION...]]
here=$(CDPATH='' cd -- "$(dirname "$0")" && pwd -P)
exec sh "$here/gpu-check.sh" "$here" "$here/jre/bin/java" "$(echo "$here"/lib/*.jar | tr ' ' ':')" "$@"
END
cat >"$bundle/http" <<'END'
#!/bin/sh
# Serves a model on this machine's GPU and measures it; arguments as in gpu-http.sh: FOLDER [CONFIG [BACKEND]]
here=$(CDPATH='' cd -- "$(dirname "$0")" && pwd -P)
exec sh "$here/gpu-http.sh" "$here" "$here/jre/bin/java" "$(echo "$here"/lib/*.jar | tr ' ' ':')" "$@"
END
chmod +x "$bundle/check" "$bundle/http"
tar -C "$root/target" -cJf "$root/target/basalt-gpu.tar.xz" basalt-gpu
echo "$root/target/basalt-gpu.tar.xz"
