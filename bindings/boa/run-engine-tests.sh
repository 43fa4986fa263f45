#!/bin/sh
# Runs boa_engine's own unit tests on this heap: as published, then with a collection at every allocation, for each plan. With the
# plans whose name begins with Sticky, three of four of these are minor.
#
#   run-engine-tests.sh [PLAN ...]      all that do not move unless named
#
# Cargo fetches the published crate; it is copied to the target folder, its benchmarks are taken off, and boa_gc is patched.
# Nothing else on the machine is needed. TESTS_MIN: how many tests must pass each time. STRESS: bytes between two collections.
#
# One test makes a chain of 100,000 objects: collecting it at each of them takes a quarter of an hour and shows nothing that the
# other tests do not. There it is collected whenever the heap has grown by 1 %.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/target}
work=$target/engine-tests
tests_min=${TESTS_MIN:-1114}
stress=${STRESS:-1}
chain=long_object_chain_gc_trace_stack_overflow
[ $# -gt 0 ] || set -- StickyMarkSweep StickyImmix MarkSweep Immix

cargo fetch --quiet --manifest-path "$here/Cargo.toml"
manifest=$(cargo metadata --format-version 1 --offline --manifest-path "$here/Cargo.toml" |
    tr ',' '\n' | sed -n 's/^"manifest_path":"\(.*\/boa_engine-0\.22\.[^/]*\/Cargo\.toml\)"$/\1/p' | head -n 1)
[ -n "$manifest" ] || { echo "run-engine-tests: cargo knows no boa_engine 0.22" >&2; exit 1; }

mkdir -p "$work"
rm -rf "$work/src" "$work/Cargo.toml"
cp -r "$(dirname "$manifest")/src" "$work/src"
chmod -R u+w "$work/src"
# The manifest without benchmarks, integration tests and what only those (or Git hooks) need.
awk '
    /^\[/ {
        skip = /^\[\[(bench|test)\]\]/ || /dev-dependencies\.(criterion|husky-rs|jemallocator)\]/
    }
    !skip
' "$(dirname "$manifest")/Cargo.toml" > "$work/Cargo.toml"
cat >> "$work/Cargo.toml" <<EOF

[workspace]

[patch.crates-io]
boa_gc = { path = "$here/gc" }

# A collection at every allocation is a lot of work: optimise, and keep the assertions.
[profile.test]
opt-level = 2
debug = 0
debug-assertions = true
EOF
[ -e "$here/README.md" ] && cp "$here/README.md" "$work/README.md" || : > "$work/README.md"
: > "$work/ABOUT.md"
cp "$(dirname "$manifest")/ABOUT.md" "$work/ABOUT.md" 2>/dev/null || :
cp "$here/Cargo.lock" "$work/Cargo.lock" 2>/dev/null || :

cd "$work"
CARGO_TARGET_DIR=$target/engine-tests-build cargo test --lib --no-run

failed=0
# run TITLE TESTS FILTER VARIABLE=VALUE ...
run() {
    title=$1
    wanted=$2
    filter=$3
    shift 3
    log=$work/log.txt
    start=$(date +%s)
    status=0
    # The filter is empty or a few words.
    env "$@" CARGO_TARGET_DIR="$target/engine-tests-build" cargo test --quiet --lib -- $filter > "$log" 2>&1 || status=$?
    passed=$(sed -n 's/^test result: .* \([0-9][0-9]*\) passed;.*/\1/p' "$log" | head -n 1)
    echo "$title: ${passed:-0} tests passed in $(($(date +%s) - start)) s"
    if [ "$status" -ne 0 ] || [ "${passed:-0}" -lt "$wanted" ]; then
        tail -n 60 "$log"
        echo "run-engine-tests: $title: status $status, ${passed:-0} of at least $wanted tests passed" >&2
        failed=1
    fi
}
for plan in "$@"; do
    run "$plan" "$tests_min" "" MMTK_PLAN="$plan"
    run "$plan, a collection every $stress bytes" $((tests_min - 1)) "--skip $chain" MMTK_PLAN="$plan" BOA_GC_STRESS="$stress"
    run "$plan, a collection at every 1 % of growth" 1 "$chain" MMTK_PLAN="$plan" MMTK_HEAP_MIN=0 MMTK_HEAP_HEADROOM_PERCENT=1
done
exit $failed
