//! What the system refused to the heap. Refusals are counted, and the first of each kind in a process is a
//! warning, with the limit behind it as far as the process can tell.
//!
//! A refusal is never a panic. Memory that is not granted is like a budget that is used up: the heap
//! collects, and reports out of memory with this reason if that does not help. Memory that the system does
//! not take back stays resident and counts as such.
//!
//! Callers: any thread, with whatever locks of spaces it holds; the lock here is a leaf.

use crate::options::format_bytes;
use crate::os;
use crate::warnings::Once;
use protocols::sync::Mutex;
use std::fmt::{self, Write};
use std::fs::File;
use std::io::{self, Read};

/// What was asked for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Memory for blocks, pages or tables.
    Memory,
    /// To take free memory back.
    Return,
    /// A page of an object's own.
    Page,
    /// To make dead objects inaccessible.
    Protection,
    /// To release what was reserved.
    Release,
    /// A thread.
    Thread,
}

impl Asked {
    fn text(self) -> &'static str {
        match self {
            Asked::Memory => "memory for the heap",
            Asked::Return => "to take free memory back (it stays resident)",
            Asked::Page => "a page for an object",
            Asked::Protection => "to make dead objects inaccessible (they stay accessible)",
            Asked::Release => "to release address space (it stays reserved)",
            Asked::Thread => "a thread",
        }
    }
}

static SAID: [Once; 6] = [const { Once::new() }; 6];

struct Kind {
    asked: Asked,
    times: u64,
    /// The first one in words.
    text: String,
}

/// The refusals of one heap.
#[derive(Default)]
pub struct Refusals(Mutex<Vec<Kind>>);

impl Refusals {
    /// The system refused this many bytes.
    #[cold]
    pub fn add(&self, asked: Asked, bytes: usize, error: &io::Error) {
        let mut kinds = self.0.lock();
        if let Some(kind) = kinds.iter_mut().find(|kind| kind.asked == asked) {
            kind.times += 1;
            return;
        }
        let text = format!("the system refuses {}, {bytes} bytes: {error}{}", asked.text(), why(asked, bytes, error));
        kinds.push(Kind { asked, times: 1, text: text.clone() });
        // A logger may be the program's: not under the lock.
        drop(kinds);
        // Once in a process: what its other heaps were refused is in their reports.
        SAID[asked as usize].warn(format_args!("{text}"));
    }

    /// How often the system refused something.
    pub fn count(&self) -> u64 {
        self.0.lock().iter().map(|kind| kind.times).sum()
    }

    /// A line for each kind, for reports.
    pub(crate) fn report(&self, out: &mut dyn Write) -> fmt::Result {
        self.0.lock().iter().try_for_each(|kind| writeln!(out, "  {} ({} times)", kind.text, kind.times))
    }
}

/// The limit that the error speaks of, if it can be told, and what to do.
pub(super) fn why(asked: Asked, bytes: usize, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOMEM) => why_no_memory(bytes),
        Some(libc::EAGAIN) if asked != Asked::Thread => match os::locked_memory_limit() {
            Some(most) => format!(
                "; the process locks its memory (mlockall), of which its limit is {} (ulimit -l, RLIMIT_MEMLOCK): raise it",
                format_bytes(most)
            ),
            None => String::new(),
        },
        Some(libc::EINVAL) if asked == Asked::Return => "; it is locked, by mlock or mlockall".to_owned(),
        _ => String::new(),
    }
}

fn why_no_memory(bytes: usize) -> String {
    if let Some(most) = os::address_space_limit()
        && let Some(used) = address_space_used()
        && bytes > most.saturating_sub(used)
    {
        return format!(
            "; the limit of this process's address space is {} (ulimit -v, RLIMIT_AS), of which {} are in use: raise it, or lower \
             heap.limit",
            format_bytes(most),
            format_bytes(used)
        );
    }
    let (used, most) = (mappings(), max_mappings());
    if used + used / 16 >= most {
        return format!("; {}", too_many_mappings(used));
    }
    if std::fs::read_to_string("/proc/sys/vm/overcommit_memory").is_ok_and(|text| text.trim() == "2") {
        return "; vm.overcommit_memory is 2: see CommitLimit in /proc/meminfo".to_owned();
    }
    String::new()
}

/// The text of the warning when a process has `used` mappings.
pub(super) fn too_many_mappings(used: usize) -> String {
    let most = max_mappings();
    format!(
        "{used} of the {most} mappings of a process are in use (vm.max_map_count): raise that, by `sysctl -w vm.max_map_count={}` say",
        most.saturating_mul(16)
    )
}

/// How many mappings a process may have.
pub(super) fn max_mappings() -> usize {
    const DEFAULT: usize = 65_530;
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT)
}

/// How many it has; 0 if that is not known. With a buffer on the stack: where mappings are used up the
/// allocator may get no memory.
fn mappings() -> usize {
    let mut lines = 0;
    let mut buffer = [0; 4096];
    let Ok(mut file) = File::open("/proc/self/maps") else { return 0 };
    while let Ok(read @ 1..) = file.read(&mut buffer) {
        lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count();
    }
    lines
}

/// Bytes of address space that this process uses.
fn address_space_used() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = text.split_whitespace().next()?.parse().ok()?;
    Some(pages * os::PAGE_BYTES)
}

/// Bytes of address space that this process may still use; none if there is no limit.
pub(super) fn address_space_left() -> Option<usize> {
    Some(os::address_space_limit()?.saturating_sub(address_space_used().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_said_once_and_all_are_counted() {
        let refusals = Refusals::default();
        let error = io::Error::from_raw_os_error(libc::EINVAL);
        (0..3).for_each(|_| refusals.add(Asked::Return, 4096, &error));
        refusals.add(Asked::Memory, 8192, &io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(refusals.count(), 4);
        let mut report = String::new();
        refusals.report(&mut report).unwrap();
        assert_eq!(report.lines().count(), 2, "{report}");
        assert!(report.contains("locked") && report.contains("(3 times)") && report.contains("8192"), "{report}");
    }

    #[test]
    fn mappings_of_this_process_are_counted() {
        assert!(mappings() > 10 && max_mappings() > mappings());
        let text = too_many_mappings(65_000);
        assert!(text.contains("65000 of the") && text.contains("sysctl -w vm.max_map_count="), "{text}");
    }
}
