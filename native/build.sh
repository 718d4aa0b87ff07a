#!/bin/sh
# Builds what is not Java: the fatbins of the CUDA kernels, the library that forwards cuBLAS 12 to 13, and the emulation
# of the kernels for tests. What lacks its compiler is skipped, and said so; the build goes on.
# usage: build.sh OUTPUT_FOLDER [JCUBLAS_NATIVES_JAR]
set -eu

here=$(CDPATH='' cd -- "$(dirname "$0")" && pwd -P)
output=$1
jcublas=${2:-}
resources=$output/classes/META-INF/basalt
work=$output/native
mkdir -p "$resources" "$work"
stamp=$(cat "$here"/kernels/* "$here"/emulation/* "$here"/forwarding/* "$here/build.sh" | cksum | cut -d' ' -f1)

is_current() {
    [ -f "$1" ] && [ "$(cat "$work/$2.stamp" 2>/dev/null)" = "$stamp" ]
}

made() {
    echo "$stamp" >"$work/$1.stamp"
}

# At fixed addresses, where that is allowed: at random ones ptxas of CUDA 13.0 swapped the operands of an addition in 1
# of 8 builds (of 11 at fixed ones in none), and releases are to be the same bytes.
fixed=
if setarch "$(uname -m)" -R true 2>/dev/null; then
    fixed="setarch $(uname -m) -R"
fi

# No kernel may spill more than eight registers where they are tuned, on sm_90a; those for any shape (_any) are not.
kernels() {
    is_current "$resources/bf16.fatbin" kernels && return
    for type in bf16 f32; do
        define=
        [ $type = f32 ] && define=-DBASALT_F32
        # shellcheck disable=SC2086
        $fixed nvcc -O3 -std=c++17 $define -Xptxas -v --threads 1 \
            -gencode=arch=compute_80,code=sm_80 \
            -gencode=arch=compute_90a,code=sm_90a \
            -gencode=arch=compute_100,code=sm_100 \
            -gencode=arch=compute_80,code=compute_80 \
            -fatbin -o "$resources/$type.fatbin" "$here/kernels/basalt.cu" >"$work/$type.resources.txt" 2>&1 || {
            cat "$work/$type.resources.txt"
            exit 1
        }
    done
    spilling=$(awk '/Compiling entry function/ { target = $0 }
        /Function properties for/ { name = $NF }
        / bytes spill stores/ { if ($5 + 0 > 32 && target ~ /sm_90a/ && name !~ /_any$/) print "  " name ": " $0 }' "$work/bf16.resources.txt")
    if [ -n "$spilling" ]; then
        echo "native: kernels spill registers:"
        echo "$spilling"
        exit 1
    fi
    made kernels
    echo "native: CUDA kernels built, no spills"
}

# JCublas asks for libcublas.so.12; this one has that name and hands every call to libcublas.so.13.
forwarding() {
    is_current "$resources/libbasalt-cublas.so" forwarding && return
    (cd "$work" && unzip -o -q -j "$jcublas" 'lib/libJCublas2-*.so' -d jcublas)
    nm -D --undefined-only "$work"/jcublas/libJCublas2-*.so | awk '{ sub(/@.*/, "", $2); if ($2 ~ /^cublas/) print $2 }' |
        sort -u >"$work/symbols.txt"
    {
        echo "#define SYMBOLS $(wc -l <"$work/symbols.txt")"
        echo '#define NAMES \'
        awk '{ printf "    \"%s\", \\\n", $1 }' "$work/symbols.txt"
        echo
        echo '#define TRAMPOLINES \'
        awk '{ printf "    TRAMPOLINE(%s, %d) \\\n", $1, NR - 1 }' "$work/symbols.txt"
        echo
    } >"$work/symbols.h"
    gcc -O2 -shared -fPIC -I"$work" -o "$resources/libbasalt-cublas.so" "$here/forwarding/cublas.c" \
        -Wl,-soname,libcublas.so.12 -Wl,--version-script="$here/forwarding/cublas.map" -ldl
    made forwarding
    echo "native: cuBLAS forwarding library built, $(wc -l <"$work/symbols.txt") symbols"
}

emulation() {
    is_current "$work/emulation-bf16.so" emulation && return
    for type in bf16 f32; do
        define=
        [ $type = f32 ] && define=-DBASALT_F32
        # shellcheck disable=SC2086
        g++ -O2 -std=c++17 $define -mavx2 -mfma -ffp-contract=off -fPIC -shared \
            -o "$work/emulation-$type.so" "$here/emulation/emulation.cpp"
    done
    made emulation
    echo "native: emulation of the kernels built"
}

has() {
    command -v "$1" >/dev/null 2>&1
}

if has nvcc; then kernels; else echo "native: no nvcc, so no CUDA kernels: --backend cuda will not work"; fi
machine=$(uname -s)-$(uname -m)
if [ "$machine" = Linux-x86_64 ] && has gcc && has nm && has unzip && [ -n "$jcublas" ]; then
    forwarding
else
    echo "native: no gcc, nm or unzip on Linux x86-64, so no forwarding library for cuBLAS 13"
fi
if [ "$machine" = Linux-x86_64 ] && has g++ && grep -q avx2 /proc/cpuinfo; then
    emulation
else
    echo "native: no g++ on x86-64 with AVX2, so no emulation of the kernels: its tests are skipped"
fi
