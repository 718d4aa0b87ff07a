#!/bin/sh
# Assembles what an image holds: first jars, a Java runtime of what they need, and the default model; then, for one target,
# a start-up cache.
# usage: assemble.sh FOLDER jars, then assemble.sh FOLDER cpu or assemble.sh FOLDER cuda KERNELS, from the repository root;
# KERNELS is what native/build.sh leaves in its folder classes
set -eu

folder=$1
target=$2
kernels=${3:-}
JAVA_HOME=$(./basalt jdk)
export JAVA_HOME
java=$folder/jre/bin/java

jars() {
    mvn -B -ntp -q -pl native,engine,server package -DskipTests -Djacoco.skip=true
    mvn -B -ntp -q org.cyclonedx:cyclonedx-maven-plugin:2.9.1:makeAggregateBom -DoutputFormat=json \
        -DincludeTestScope=false -DexcludeArtifactId=basalt-bench
    mkdir -p "$folder/lib" "$folder/models"
    cp server/target/lib/*.jar server/target/basalt-server-*.jar "$folder/lib/"
    rm -f "$folder"/lib/*-tests.jar "$folder"/lib/*-sources.jar
    cp target/bom.json "$folder/sbom.json"
    cp -r models/based-10m "$folder/models/"
    cp LICENSE "$folder/"
}

# What the targets have apart.
parts() {
    if [ "$target" = cpu ]; then
        # Ten megabytes that only load on a GPU; without them the server finds no GPU, and says so.
        rm -f "$folder"/lib/*-natives-*.jar "$folder"/lib/basalt-native-*.jar
        return
    fi
    [ -s "$kernels/META-INF/basalt/bf16.fatbin" ] || {
        echo "assemble.sh: $kernels has no kernels: build them with native/build.sh where nvcc is" >&2
        exit 1
    }
    "$JAVA_HOME/bin/jar" --update --file "$folder"/lib/basalt-native-*.jar -C "$kernels" META-INF/basalt
}

# The modules that the jars name, and what services and the Vector API need besides.
runtime() {
    named=$("$JAVA_HOME/bin/jdeps" --print-module-deps --ignore-missing-deps -q --multi-release 25 -R \
        --class-path "$folder/lib/*" "$folder"/lib/basalt-server-*.jar)
    # As a program of ours, for what container/Link.java says.
    "$JAVA_HOME/bin/java" --add-modules jdk.jlink --add-exports jdk.jlink/jdk.tools.jlink.plugin=ALL-UNNAMED \
        --add-exports jdk.jlink/jdk.tools.jlink.internal=ALL-UNNAMED container/Link.java \
        --add-modules "$named,jdk.incubator.vector,jdk.management,jdk.unsupported,jdk.crypto.ec,jdk.jfr" \
        --strip-java-debug-attributes --no-header-files --no-man-pages --compress zip-6 --output "$folder/jre"
}

# Arguments of the virtual machine: the same for the training of the cache, or it would not be taken. Those for vectors
# the virtual machine sets itself when it defines the module of the Vector API, which it does not do where the module
# graph comes from the cache. Who calls a kernel waits until it is compiled, and leaves its core to the compiler: with the
# profiles of the cache that is soon. The file basalt says what the others are for.
arguments() {
    cat >"$folder/basalt.args" <<END
-XX:AOTCache=$folder/basalt.aot
-Xlog:aot*=off
-Xlog:cds=off
-XX:-UsePerfData
$(./basalt vm-options "$target")
-XX:CompileCommand=BackgroundCompilation,basalt.engine.backend.cpu.*::*,false
-XX:CompileCommand=BackgroundCompilation,basalt.engine.backend.cpu.Packing::*,true
-XX:+UnlockExperimentalVMOptions
-XX:+EnableVectorSupport
-XX:+EnableVectorReboxing
-XX:+EnableVectorAggressiveReboxing
-XX:+UseVectorStubs
--enable-native-access=ALL-UNNAMED
-Dbasalt.home=$folder
-cp
$(class_path)
basalt.server.Main
END
    cat >"$folder/health.args" <<END
-XX:+UseSerialGC
-XX:TieredStopAtLevel=1
-XX:-UsePerfData
-cp
$(class_path)
basalt.server.Main
health
END
}

class_path() {
    printf '%s' "$folder"/lib/*.jar | sed "s|\.jar$folder|.jar:$folder|g"
}

# Serves a few requests, and keeps the classes and profiles that this loaded.
cache() {
    work=$(mktemp -d)
    sed "s|^-XX:AOTCache=|-XX:AOTCacheOutput=|" "$folder/basalt.args" >"$work/args"
    "$java" "@$work/args" serve --port 0 --ops-port 0 >"$work/log" 2>&1 &
    server=$!
    until grep -q '^Serving' "$work/log"; do
        kill -0 $server 2>/dev/null || {
            cat "$work/log"
            exit 1
        }
        sleep 0.2
    done
    # On a port of its own: a build may have the network of a machine where another one runs.
    "$JAVA_HOME/bin/java" container/Train.java "$(sed -n 's/^Serving .* on //p' "$work/log")"
    kill $server
    wait $server || true
    [ -s "$folder/basalt.aot" ] || {
        cat "$work/log"
        exit 1
    }
}

if [ "$target" = jars ]; then
    jars
    runtime
    exit 0
fi
parts
arguments
cache
chmod -R a+rX "$folder"
du -sh "$folder"/*
