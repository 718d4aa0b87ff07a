#!/bin/sh
# Measures llama.cpp on a Llama-type Transformer with random bf16 weights beside `basalt bench engine` on a BASED model
# of the same size, in turns within one run, because machines drift.
#
# usage: llama-cpp.sh BIN_FOLDER [10m|360m] [THREADS]
#   BIN_FOLDER  holds llama-bench and llama-batched-bench, built for this machine:
#               cmake -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON && cmake --build build
set -eu

bin=${1:?usage: llama-cpp.sh BIN_FOLDER [10m|360m] [THREADS]}
size=${2:-10m}
threads=${3:-$(getconf _NPROCESSORS_ONLN)}
rounds=${ROUNDS:-3}
here=$(CDPATH='' cd -- "$(dirname "$0")" && pwd -P)
basalt=$here/../../basalt
work=${TMPDIR:-/tmp}/basalt-peers
mkdir -p "$work"

java=$("$basalt" jdk)/bin/java
peer=$work/llama-$size.gguf
[ -f "$peer" ] || "$java" "$here/RandomLlama.java" "$size" "$peer"
case $size in
    10m) model=$here/../../models/based-10m ;;
    *)
        model=$work/based-$size
        [ -d "$model" ] || "$basalt" checkpoint random "based-$size" "$model"
        ;;
esac

uname -a
grep -m 1 'model name' /proc/cpuinfo || true
round=1
while [ "$round" -le "$rounds" ]; do
    echo "== round $round: basalt"
    "$basalt" bench engine --model "$model" --threads "$threads" --batches 1,16 --positions 100,1000 \
        --prompts 512,2048 --repeats 3
    echo "== round $round: llama.cpp"
    # Memory-mapped weights are slower on virtual machines, so they are read into memory here.
    "$bin/llama-bench" -m "$peer" -t "$threads" -mmp 0 -p 512,2048 -n 0 -r 3
    "$bin/llama-bench" -m "$peer" -t "$threads" -mmp 0 -p 0 -n 128 -d 100,1000 -r 3
    "$bin/llama-batched-bench" -m "$peer" -t "$threads" --no-mmap -c 8192 -npp 100 -ntg 128 -npl 1,16
    round=$((round + 1))
done
