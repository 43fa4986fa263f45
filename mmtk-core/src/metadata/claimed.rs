//! The wait for a worker that has claimed an object, and the report when there is no such worker.
//!
//! A claim lasts as long as a copy. But a stale reference may lead to memory that is no object any more,
//! where the "state byte" has any value. In every letter of a text the bit of a claim is set: a worker that
//! comes there waits for a claimer that does not exist. A worker that is alone knows that at once; others can
//! only report that they have waited long.
//! Callers: GC workers inside a pause.

use crate::address::ObjectReference;
use crate::warnings;
use protocols::forwarding::StateCell;
use protocols::sync::Spin;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// The first report comes after so long, the next each time that has doubled.
const LONG: Duration = Duration::from_secs(1);

/// What holds if no worker has claimed it.
const ELSE: &str = "no object begins there, or the VM has written over the byte. The usual cause is a stale reference: a forgotten root, or a \
                    missing write barrier; verify.trace=true tells where it is";

fn state(cell: impl StateCell) -> u8 {
    (cell.read(Relaxed) >> 56) as u8
}

/// Returns what the cell of the object holds when nobody has claimed it any more. `alone`: there is no other
/// worker.
#[cold]
#[inline(never)]
pub(super) fn wait_for_claimer(cell: impl StateCell, object: ObjectReference, alone: bool) -> u64 {
    let (mut spin, mut late) = (Spin::default(), None);
    loop {
        if let Some(seen) = cell.unclaimed() {
            return seen;
        }
        assert!(
            !alone,
            "the state byte of {object} is {:#04x}: a worker moves it, and there is no other worker; so {ELSE}",
            state(cell)
        );
        spin.wait();
        if spin.is_long() {
            let (since, due) = late.get_or_insert_with(|| (Instant::now(), LONG));
            let waited = since.elapsed();
            if waited >= *due {
                *due = 2 * waited;
                warnings::warn(format_args!(
                    "a GC worker has waited {:.3} s for another to move {object}, whose state byte is {:#04x}. If no worker is in a \
                     function of the VM, {ELSE}",
                    waited.as_secs_f64(),
                    state(cell)
                ));
            }
        }
    }
}
