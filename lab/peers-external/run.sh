#!/bin/bash
# run.sh NAME WORKLOAD HEAP_BYTES ITERS SIZE GC_THREADS
#
# Runs a workload in another language (Java knows gcbench and binary-trees only); prints the JSON lines of `mmtk run --json`. Called by `mmtk`.
#
# NAME: go           no collection until the heap is full (GOGC=off, GOMEMLIMIT)
#       go:gogc100   Go's default policy, no limit
#       go:both      the default policy with the limit
#       java17:GC    java25:GC    java25c:GC (compact object headers)
#                    GC: G1 Parallel Serial Z Shenandoah GenShen
#
# Exit status: 127 when the tool is not installed, 3 when the program ran out of memory. Go's limit is soft: it never does.
# GO, JAVA17_HOME, JAVA25_HOME name tools in unusual places. Programs are built once, into LAB_EXTERNAL_BUILD.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
name=$1 workload=$2 bytes=$3 iters=$4 size=$5 threads=${6:-2}
mib=$(((bytes + (1 << 20) - 1) >> 20))
out=${LAB_EXTERNAL_BUILD:-${TMPDIR:-/tmp}/mmtk-lab-external-$(id -u)}
mkdir -p "$out"

missing() {
    echo "$1 is not installed" >&2
    exit 127
}

# first PATTERN...: the first file that exists and can be executed.
first() {
    local file
    for file in "$@"; do
        if [ -x "$file" ]; then
            echo "$file"
            return
        fi
    done
}

go_program() {
    local go=${GO:-$(command -v go || first /usr/lib/go-1.*/bin/go /usr/local/go/bin/go)}
    [ -n "$go" ] || missing Go
    if [ ! "$out/gobench" -nt "$here/go/main.go" ]; then
        (cd "$here/go" && GO111MODULE=off GOCACHE=$out/gocache "$go" build -o "$out/gobench" main.go) >&2
    fi
    # What the runtime says of its cycles, which the program reads.
    export GODEBUG=gctrace=1,gcpacertrace=1
    exec "$out/gobench" "$name" "$workload" "$bytes" "$iters" "$size" "$threads"
}

java_program() {
    local version=${name%%:*} collector=${name#*:} java flags javac
    case $version in
    java17) java=$(first "${JAVA17_HOME:-/none}/bin/java" /usr/lib/jvm/*17*/bin/java) ;;
    *) java=$(first "${JAVA25_HOME:-/none}/bin/java" /usr/lib/jvm/*25*/bin/java) ;;
    esac
    [ -n "$java" ] || missing "$version"
    case $collector in
    G1 | Parallel | Serial | Z) flags=(-XX:+Use"$collector"GC) ;;
    Shenandoah) flags=(-XX:+UseShenandoahGC) ;;
    GenShen) flags=(-XX:+UseShenandoahGC -XX:ShenandoahGCMode=generational) ;;
    *) echo "unknown collector $collector" >&2 && exit 2 ;;
    esac
    [ "$collector" = Serial ] || flags+=(-XX:ParallelGCThreads="$threads")
    case $collector in Z | Shenandoah | GenShen | G1) flags+=(-XX:ConcGCThreads=1) ;; esac
    [ "$version" != java25c ] || flags+=(-XX:+UseCompactObjectHeaders)
    if [ ! "$out/Bench.class" -nt "$here/java/Bench.java" ]; then
        javac=$(first "$(dirname "$java")/javac" "$(command -v javac || true)" /usr/lib/jvm/*/bin/javac)
        [ -n "$javac" ] || missing javac
        "$javac" --release 17 -d "$out" "$here/java/Bench.java" >&2
    fi
    # Pauses come from this log. Not local: the trap outlives the function.
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    "$java" -Xms"${mib}"m -Xmx"${mib}"m -Xss16m "${flags[@]}" -Dbench.log="$log" -Xlog:disable \
        -Xlog:safepoint=info:file="$log" -cp "$out" Bench "$name" "$workload" "$bytes" "$iters" "$size" "$threads"
}

case $name in
go) export GOGC=off GOMEMLIMIT="${mib}MiB" && go_program ;;
go:gogc100) go_program ;;
go:both) export GOGC=100 GOMEMLIMIT="${mib}MiB" && go_program ;;
java*) java_program ;;
*) echo "unknown program $name" >&2 && exit 2 ;;
esac
