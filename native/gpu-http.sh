#!/bin/sh
# Serves a random model and measures it through HTTP, beside the backend by itself in the same run: decoding of 128 and
# 512 rows, as many streams with and without ten prompts of 2,000 tokens a second, after a warm-up with them, then sessions
# from each tier. The load generator runs on the same machine.
# usage: gpu-http.sh ROOT JAVA CLASS_PATH FOLDER [CONFIG [BACKEND]]
# FOLDER keeps the model and what was written; CONFIG is based-1b (default), based-360m, a config.json, or the directory of
# a checkpoint that is there; BACKEND is cuda (default) or cpu.
# GPU_HTTP_PARTS: which of rate streams sessions, all three unless told otherwise, and soak, for a small model: sessions of a
# server that is killed in between; GPU_HTTP_SOAK is its size (--sessions 10000 --seconds 60). GPU_HTTP_ANSWER: tokens of
# an answer (512); GPU_HTTP_STREAMS (128 512), GPU_HTTP_SECONDS (8) and GPU_HTTP_LENGTHS (100,100000) make a small run.
# GPU_HTTP_SAMPLING: how answers are drawn (--temperature 0.8 --top-p 0.95), greedily unless told otherwise.
# GPU_HTTP_DEVICES: GPUs that serve the streams, 1 unless told otherwise. The streams are as many as GPU_HTTP_STREAMS says,
# spread over them, so a step of each has so many times fewer rows at most; rate, sessions and soak are of one GPU.
set -eu

root=$1
java=$2
class_path=$3
mkdir -p "$4"
folder=$(CDPATH='' cd -- "$4" && pwd -P)
config=${5:-based-1b}
backend=${6:-cuda}
parts=${GPU_HTTP_PARTS:-rate streams sessions}
streams=${GPU_HTTP_STREAMS:-128 512}
seconds=${GPU_HTTP_SECONDS:-8}
answer=${GPU_HTTP_ANSWER:-512}
lengths=${GPU_HTTP_LENGTHS:-100,100000}
devices=${GPU_HTTP_DEVICES:-1}
case $backend:$devices in
    *:1 | cuda:[2-9] | cuda:[1-5][0-9] | cuda:6[0-4]) ;;
    *)
        echo "gpu-http: GPU_HTTP_DEVICES is $devices, with BACKEND $backend: give 1 to 64, more than 1 with cuda alone" >&2
        exit 2
        ;;
esac
here=$(dirname "$0")
sessions=$folder/sessions
model=
cublas=$(sh "$here/gpu-check.sh" --cublas)
options=${BASALT_JAVA_OPTS:-}
unset BASALT_CUBLAS BASALT_JAVA_OPTS # no configuration keys of the server

# The virtual machine's options that Basalt ships with.
shipped=$(if [ -x "$root/basalt" ]; then "$root/basalt" vm-options "$backend"; else cat "$root/vm-options"; fi)

# Replaces the shell, so that the number of a process in the background is that of the server. As text, because the soak
# starts servers by itself.
export root java class_path cublas options shipped model sessions
# shellcheck disable=SC2016 # expanded where it runs
launch='"$java" --add-modules jdk.incubator.vector --enable-native-access=ALL-UNNAMED $shipped "-Dbasalt.home=$root" \
    ${cublas:+"-Dbasalt.cublas.folder=$cublas"} $options -cp "$class_path"'
become() {
    eval "exec $launch \"\$@\""
}

bench() {
    echo "## bench $*"
    "$java" --add-modules jdk.incubator.vector --enable-native-access=ALL-UNNAMED -XX:+UseSerialGC -Xmn128m \
        -cp "$class_path" basalt.bench.Main "$@"
}

server=
stop() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    [ -z "$server" ] || wait "$server" || true
    server=
}
trap stop EXIT
trap 'exit 1' INT TERM

# serve OPTIONS...: starts a server and waits until it serves.
serve() {
    stop
    become basalt.server.Main serve --model "$model" --backend "$backend" --port 0 "$@" >"$folder/serve.log" 2>&1 &
    server=$!
    tries=0
    until grep -qs '^Serving' "$folder/serve.log"; do
        tries=$((tries + 1))
        if [ $tries -gt 600 ] || ! kill -0 $server 2>/dev/null; then
            cat "$folder/serve.log" >&2
            exit 1
        fi
        sleep 0.2
    done
    url=$(sed -n 's/^Serving .* on //p' "$folder/serve.log")
    echo "# served with $* at $url"
}

# CPU time of the server's threads by the beginning of their names, in milliseconds, as two columns.
thread_times() {
    for task in /proc/"$server"/task/*; do
        name=$(tr -d ' 0-9' <"$task/comm" 2>/dev/null) || continue
        sed 's/.*) //' "$task/stat" 2>/dev/null | awk -v name="$name" '{ print name, ($12 + $13) * 10 }'
    done | awk '{ sum[$1] += $2 } END { for (name in sum) print name, sum[name] }' | sort
}

# What the threads have done since thread_times was written to a file, next to the time.
busiest() {
    thread_times >"$folder/after"
    taken=$(cut -d ' ' -f 1 /proc/uptime | awk -v began="$began" '{ print $1 - began }')
    join "$folder/before" "$folder/after" | awk -v s="$taken" '{ d = ($3 - $2) / 10 / s; if (d >= 1) print d, $1 }' |
        sort -rn | awk '{ all = all ", " $2 " " int($1) " %" } END { print "# CPU of the server, of one core: " substr(all, 3) }'
}

if [ -d "$config" ] && [ -e "$config/config.json" ]; then
    model=$config
else
    model=$folder/model
    [ -e "$model/config.json" ] || (become basalt.server.Main checkpoint random "$config" "$model" --seed 1)
fi

for part in $parts; do
    case $part in
        rate)
            items=$(echo "$streams" | tr ' ' ',')
            case $backend$config in
                cudabased-1b) set -- "bench:1.3b:$items" ;;
                cudabased-360m) set -- "bench:360m:$items" ;;
                *) set -- ;;
            esac
            [ $# -eq 0 ] || BASALT_CUBLAS=$cublas sh "$here/gpu-check.sh" "$root" "$java" "$class_path" \
                "$folder/rate.json" "$@"
            ;;
        streams)
            most=$(echo "$streams" | tr ' ' '\n' | sort -n | tail -n 1)
            serve --batch-max $(((most + devices - 1) / devices)) --devices "$devices" # each device has such a batch
            [ "$devices" = 1 ] || echo "# $devices devices; the engine's own rate is that of one"
            load="--prompt-tokens 50 --max-tokens $answer --prompts 4096 --check false ${GPU_HTTP_SAMPLING:-}"
            for count in $streams; do
                # shellcheck disable=SC2086 # options are words
                bench serve "$url" --streams "$count" --seconds "$seconds" $load --arrivals 10 >"$folder/warm-up.log"
                for arrivals in 0 10; do
                    began=$(cut -d ' ' -f 1 /proc/uptime)
                    thread_times >"$folder/before"
                    # shellcheck disable=SC2046,SC2086 # options are words
                    bench serve "$url" --streams "$count" --seconds "$seconds" $load \
                        $([ $arrivals = 0 ] || echo --arrivals $arrivals)
                    busiest
                done
            done
            ;;
        sessions)
            for tier in slot memory disk; do
                case $tier in
                    slot) set -- ;;
                    memory) set -- --session-slots 0 --sessions-memory-max 2GiB ;;
                    disk) set -- --session-slots 0 --sessions-memory-max 0B ;;
                esac
                rm -rf "$sessions"
                serve --sessions-dir "$sessions" --prefix-cache-max 2GiB "$@"
                bench sessions "$url" --lengths "$lengths" --tails 1 --turns 10 >"$folder/warm-up.log"
                bench sessions "$url" --lengths "$lengths"
            done
            ;;
        soak)
            stop
            rm -rf "$sessions"
            # shellcheck disable=SC2086 # options are words
            bench soak ${GPU_HTTP_SOAK:-} --directory "$sessions" --server "$launch basalt.server.Main serve \
                --model \"\$model\" --backend $backend --port 0 --deterministic --slots 32 --sessions-memory-max 16MiB \
                --sessions-disk-max 32MiB --sessions-dir \"\$sessions\""
            ;;
        *)
            echo "gpu-http: no part $part" >&2
            exit 2
            ;;
    esac
done
