#!/bin/sh
# Runs the example scripts on this heap and on stock boa_gc, in turns, and prints medians and ratios.
#
#   compare.sh [PLAN ...]     StickyMarkSweep unless named. ROUNDS=5: runs of each; SCRIPTS="a.js b.js": others than the examples.
#
# Both are the same runner, built in the same way: stock without the patch and without the feature `toolkit`. CPU is user and
# system time of the process, start of the engine included; resident is its maximum (VmHWM). The longest pause is of one more
# run: this heap measures its own; for stock see `src/stock_pauses.rs`. Each run is a line of `compare.log` in the target folder.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/target}
rounds=${ROUNDS:-5}
scripts=${SCRIPTS:-$here/examples/*.js}
[ $# -gt 0 ] || set -- StickyMarkSweep

# One target folder serves both, so that what they share is built once; the binaries have the same name and are copied out.
stock=$target/stock
mkdir -p "$stock"
ours=$stock/mmtk-boa.ours
theirs=$stock/mmtk-boa.stock
CARGO_TARGET_DIR=$target cargo build --quiet --release --manifest-path "$here/Cargo.toml"
cp "$target/release/mmtk-boa" "$ours"
rm -rf "$stock/src"
cp -r "$here/src" "$stock/src"
cp "$here/Cargo.lock" "$stock/Cargo.lock"
# The same manifest without the patch, the toolkit, and the second member.
awk '
    /^\[/ { skip = /^\[patch/ }
    /^members/ || /^reports/ { next }
    /^default = / { print "default = []"; next }
    /^toolkit = / { print "toolkit = []"; next }
    !skip
' "$here/Cargo.toml" > "$stock/Cargo.toml"
CARGO_TARGET_DIR=$target cargo build --quiet --release --manifest-path "$stock/Cargo.toml"
cp "$target/release/mmtk-boa" "$theirs"

log=$target/compare.log
: > "$log"
# one LABEL COMMAND ...: a line "script label cpu rss pause checksum" with a dash for what was not asked for.
one() {
    label=$1
    shift
    "$@" > "$log.out" 2> "$log.err" || { cat "$log.err" >&2; exit 1; }
    usage=$(sed -n 's/^usage //p' "$log.err")
    pause=$(sed -n 's/^pause max *\([0-9.]*\) ms$/\1/p' "$log.err")
    echo "$name $label ${usage:-- -} ${pause:--} $(tr ' ' '_' < "$log.out" | tr '\n' ';')" >> "$log"
}
for script in $scripts; do
    name=$(basename "$script" .js)
    round=0
    while [ "$round" -lt "$rounds" ]; do
        one stock "$theirs" --usage "$script"
        for plan in "$@"; do one "$plan" "$ours" --usage --plan "$plan" "$script"; done
        round=$((round + 1))
    done
    one stock "$theirs" --heap-stats "$script"
    for plan in "$@"; do one "$plan" "$ours" --heap-stats --plan "$plan" "$script"; done
    echo "$name done" >&2
done
rm -f "$log.out" "$log.err"
awk -v plans="$*" '
    function median(list,    n, i, j, t, a) {
        n = split(list, a, " ")
        for (i = 2; i <= n; i++) for (j = i; j > 1 && a[j] + 0 < a[j - 1] + 0; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
        return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
    }
    !($1 in seen) { seen[$1] = 1; order[++scripts] = $1; sum[$1] = $6 }
    $6 != sum[$1] { print "checksums differ: " $1 ": " sum[$1] " and " $6 " on " $2; bad = 1 }
    $3 != "-" { cpu[$1, $2] = cpu[$1, $2] " " $3; rss[$1, $2] = rss[$1, $2] " " $4 }
    $5 != "-" { pause[$1, $2] = $5 }
    END {
        print "| script | collector | CPU s | / stock | longest pause ms | / stock | resident MiB | / stock |"
        print "|---|---|---|---|---|---|---|---|"
        n = split("stock " plans, names, " ")
        for (s = 1; s <= scripts; s++) for (p = 1; p <= n; p++) {
            k = order[s] SUBSEP names[p]; b = order[s] SUBSEP "stock"
            c = median(cpu[k]); r = median(rss[k]); bc = median(cpu[b]); br = median(rss[b])
            ratio = pause[b] ? pause[k] / pause[b] : 0
            printf "| %s | %s | %.2f | %.2f | %.1f | %.2f | %.1f | %.2f |\n", order[s], names[p], c, c / bc, pause[k], ratio, r / 1024, r / br
            sum_c[p] += c
            if (p > 1) { lc[p] += log(c / bc); lr[p] += log(r / br) }
        }
        for (p = 2; p <= n; p++)
            printf "\n%s against stock: CPU %.2f in total; geometric means: CPU %.2f, resident %.2f\n", names[p], sum_c[p] / sum_c[1], exp(lc[p] / scripts), exp(lr[p] / scripts)
        exit bad
    }
' "$log"
