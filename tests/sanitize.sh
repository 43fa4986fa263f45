#!/usr/bin/env bash
# Tests under the tools that see undefined behaviour and data races: Miri, AddressSanitizer, ThreadSanitizer.
#
#     tests/sanitize.sh [miri|address|thread|all]...        all three without arguments
#
# Each tool runs what it can: docs/src/sanitizers.md says what that is, what is left out and why.
# It is not part of .ci/run. Miri needs a nightly toolchain with the components miri and rust-src. The sanitizers take nightly if it
# is installed, and else the default toolchain, with RUSTC_BOOTSTRAP=1; ThreadSanitizer needs the component rust-src of that.
# MIRI_SEEDS=0..64 tries more schedules of the workers; PROPTEST_CASES more random programs; MATRIX=full adds
# `barriers` and a setting of the matrix to the sanitizers. There a test may take WATCHDOG_SECONDS, and each workload runs with
# MATRIX_THREADS mutators and workers.
set -euo pipefail
cd "$(dirname "$0")/.."

target=x86_64-unknown-linux-gnu
export PROPTEST_CASES="${PROPTEST_CASES:-16}"

step() {
    echo
    echo "== $* (${SECONDS} s)"
    "$@"
}

# Under the sanitizers all takes some ten times as long. The tests' own code is optimised there.
optimised="profile.dev.package.plan-tests.opt-level=1"
slow() {
    export WATCHDOG_SECONDS="${WATCHDOG_SECONDS:-1800}" MATRIX_THREADS="${MATRIX_THREADS:-2}"
    # Pauses take seconds there, and each would be reported.
    export MMTK_WARNINGS="${MMTK_WARNINGS:-never}"
}

# Plans of which each is a run of its own, two at a time. PageProtect needs page protection, which Miri does not have.
plans=(semispace marksweep markcompact immix gencopy genimmix stickyimmix concurrentimmix stickymarksweep)

# A heap uses addresses as numbers, so provenance is permissive. What a heap has mapped is never unmapped in Miri, so leaks are ignored.
# Whether each value is valid for its type is checked in the core's tests alone: it takes most of the time of whole plans.
miri() {
    local flags="-Zmiri-tree-borrows -Zmiri-ignore-leaks -Zmiri-permissive-provenance -Zmiri-isolation-error=hide ${MIRIFLAGS:-}"
    local cargo=(cargo "${toolchain[@]}" miri test -q --target-dir target/miri)
    export MIRIFLAGS="$flags"
    step "${cargo[@]}" -p protocols --lib -- forwarding
    step "${cargo[@]}" -p heapwright-core --lib -- address:: a_chunk_is_there
    export MIRIFLAGS="$flags -Zmiri-disable-validation"
    step "${cargo[@]}" -p plan-tests --test small_programs -- --exact no_plan_is_left_out
    echo "== small programs on ${plans[*]} (${SECONDS} s)"
    printf '%s\n' "${plans[@]}" | xargs -P 2 -I{} sh -c '
        out=$("$@" -p plan-tests --test small_programs -- --exact {}::keeps_its_objects 2>&1) &&
            echo "{}: ok" || { echo "$out"; echo "{}: failed"; exit 255; }' - "${cargo[@]}"
    # A slot that does not publish the copy it refers to is found by some schedules only.
    export MIRIFLAGS="$flags -Zmiri-disable-validation -Zmiri-many-seeds=${MIRI_SEEDS:-0..8}"
    step "${cargo[@]}" -p plan-tests --test small_programs -- workers_that_scan_the_same_objects
}

# Where stacks are searched word by word, the search reads the red zones between variables by design: those tests are left out.
# The sanitizers make `mlock` do nothing, so the test of locked memory shows nothing there.
address() {
    slow
    export RUSTFLAGS="-Zsanitizer=address" ASAN_OPTIONS="detect_leaks=0:allow_user_segv_handler=1:use_sigaltstack=0"
    local cargo=(cargo "${toolchain[@]}" test -q --config "$optimised" --target "$target" --target-dir target/address)
    step "${cargo[@]}" -p heapwright-core --lib -- --skip stack::tests --skip locked_memory
    step "${cargo[@]}" -p plan-tests --test regions -- --skip are_found_by_address
    step "${cargo[@]}" -p plan-tests --test small_programs --test worker_races --test pinning --test native_regions \
        --test references --test finalizers --test compaction --test shadow_heap --test long_lived \
        --test concurrent --test sweeping
    [ "${MATRIX:-}" != full ] || step "${cargo[@]}" -p plan-tests --test barriers
    [ "${MATRIX:-}" != full ] || step "${cargo[@]}" -p plan-tests --test matrix -- poisoned_and_returned
}

# With the standard library built anew: of the one that was shipped the tool sees too little, and reports the test harness itself.
# Nothing is suppressed. The tool does not see `mremap`: with `cfg(tsan)` containers that grow in pages of their own are copied instead.
thread() {
    slow
    export RUSTFLAGS="-Zsanitizer=thread --cfg tsan" TSAN_OPTIONS="halt_on_error=1"
    local cargo=(cargo "${toolchain[@]}" test -q --config "$optimised" -Zbuild-std --target "$target" --target-dir target/thread)
    step "${cargo[@]}" -p heapwright-core --lib -- --skip locked_memory
    step "${cargo[@]}" -p plan-tests --test small_programs --test worker_races --test regions --test pinning --test native_regions \
        --test references --test finalizers --test shadow_heap --test long_lived
    # The tool ends a child of several threads that starts one.
    step "${cargo[@]}" -p plan-tests --test concurrent --test sweeping -- --skip fork
    # A heap nine tenths full takes minutes there.
    step "${cargo[@]}" -p plan-tests --test compaction -- --skip live_objects_may_fill_nearly_the_whole_limit
    [ "${MATRIX:-}" != full ] || step "${cargo[@]}" -p plan-tests --test barriers
    [ "${MATRIX:-}" != full ] || step "${cargo[@]}" -p plan-tests --test matrix -- all_workers_join_every_section
}

help() {
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
}

missing() {
    echo "sanitize.sh: $1 is missing; install it by: rustup $2" >&2
    exit 2
}

tools=()
for argument in "${@:-all}"; do
    case "$argument" in
    -h | --help) help && exit ;;
    all) tools+=(miri address thread) ;;
    miri | address | thread) tools+=("$argument") ;;
    *) echo "sanitize.sh: $argument: not a tool; choose from miri, address, thread and all" >&2 && exit 2 ;;
    esac
done
toolchain=(+nightly)
rustc +nightly --version 2>/dev/null || {
    toolchain=()
    export RUSTC_BOOTSTRAP=1
    rustc --version
}
for tool in "${tools[@]}"; do
    case "$tool" in
    miri)
        cargo "${toolchain[@]}" miri --version || missing "Miri" "toolchain install nightly --component miri,rust-src"
        ;;
    thread)
        [ -d "$(rustc "${toolchain[@]}" --print sysroot)/lib/rustlib/src/rust/library" ] ||
            missing "the component rust-src" "component add ${toolchain[*]/#+/--toolchain } rust-src"
        ;;
    esac
done
for tool in "${tools[@]}"; do
    # Not in a list of `&&`, in which a failure would not end the subshell.
    (
        SECONDS=0
        "$tool"
        echo "== $tool found nothing (${SECONDS} s)"
    )
done
