#!/bin/sh
# Runs the checks and benchmarks that need a GPU: one table on standard output, the same as JSON in a file.
# usage: gpu-check.sh ROOT JAVA CLASS_PATH [JSON [SECTION...]]
# Sections: probe, goldens, golden:NAME, small:NAME (a few steps of a golden's model), modes:MODEL:ROWS (logits of the fast
# mode against the deterministic mode's; MODEL is narrow, 360m or 1.3b), sanitize:NAME (small:NAME, or modes:NAME:2, under
# each tool of compute-sanitizer), draws (tokens and log-probabilities of chosen logits against the CPU's), rules:MODEL,
# sessions:MODEL, replicas-bench:1.3b:ROWS (decoding on all GPUs against one), replicas:MODEL (all GPUs behind one front,
# of which it makes the last one fail, so name it last; both say so where there are not two), promotion:1.3b:ROWS (states
# out of slots and back, beside so many rows), memory, long:TOKENS (the error of Taylor attention after so many),
# sampling:MODEL:ROWS (what each way of drawing costs a step), bench:1.3b:ITEMS, bench:360m:ITEMS, deterministic:1.3b:ITEMS;
# an item is a batch to decode, tTOKENS to prefill, or ROWS+TOKENS to decode beside a prompt; with p in front its kernels are
# timed one by one.
set -eu

# Where the cuBLAS of a toolkit or of a Python package is, if the loader does not know it.
cublas_folder() {
    for version in 12 13; do
        for folder in /usr/local/cuda*/lib64 /usr/local/cuda*/targets/x86_64-linux/lib /usr/lib/x86_64-linux-gnu \
            /usr/lib64 "$(python3 -c 'import nvidia, os; print(list(nvidia.__path__)[0])' 2>/dev/null)"/*/lib; do
            if [ -e "$folder/libcublas.so.$version" ]; then
                printf '%s\n' "$folder"
                return
            fi
        done
    done
}

if [ "$1" = --cublas ]; then # for gpu-http.sh
    printf '%s\n' "${BASALT_CUBLAS:-$(cublas_folder)}"
    exit
fi
root=$1
java=$2
class_path=$3
shift 3
json=${1:-$(pwd)/gpu-check.json}
[ $# -eq 0 ] || shift
case $json in /*) ;; *) json=$(pwd)/$json ;; esac
if [ $# -eq 0 ]; then
    set -- probe goldens modes:narrow:1,2,7 modes:360m:1,2 modes:1.3b:1,2 draws rules:../models/based-10m \
        sessions:../models/based-10m memory promotion:1.3b:128 long:100000 \
        bench:1.3b:p1,p8,p32,p128,p256,p512,pt2048,t4096 \
        bench:360m:1,32,256,t4096 sampling:1.3b:1,128,512 deterministic:1.3b:1,32,128 sanitize:g03_deep sanitize:narrow replicas:../models/based-10m
fi

folder=${BASALT_CUBLAS:-$(cublas_folder)}
cd "$root/engine" # goldens and models are found from here
exec "$java" -ea -XX:+UseSerialGC --add-modules jdk.incubator.vector --enable-native-access=ALL-UNNAMED \
    ${folder:+"-Dbasalt.cublas.folder=$folder"} -cp "$class_path" basalt.engine.backend.cuda.GpuCheck "$json" "$@"
