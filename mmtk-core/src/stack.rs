//! Native stacks, scanned conservatively: every reference that a stopped thread may still use is in its
//! registers, or in the frames above the point where it stopped.
//!
//! A mutator goes through `StackNote::run` to every place where a pause may stop it. That writes to the stack
//! the registers that calls preserve, and notes where the stack ends; the other registers hold nothing that
//! the thread uses after a call. The leader then reads each word from there to the stack's base.
//!
//! I1. While a thread is stopped, `[top, base)` is mapped and above its stack pointer: the frames there are
//!     those that called `run`.
//! I2. A word may change while it is read: a thread in a native region may write to a local of an older
//!     frame. That is never the only reference that keeps an object alive.
//! I3. Other ranges that are read come from the binding, which promises that they are mapped (`VMBinding`).
//! Callers: `run` the owner; `range` the leader of a pause; `each_word` any worker in it.
//! Source: Boehm and Weiser, "Garbage collection in an uncooperative environment" (1988).

use crate::address::Address;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Where a mutator's stack lies, and where it ended when the thread last went to a place where it may be
/// stopped.
#[derive(Debug, Default)]
pub(crate) struct StackNote {
    stack: Range<usize>,
    /// Zero before the first such place.
    top: AtomicUsize,
}

impl StackNote {
    /// For the calling thread.
    ///
    /// # Panics
    /// When the system does not say where the thread's stack is.
    pub fn of_this_thread() -> StackNote {
        let stack =
            stack_of_this_thread().unwrap_or_else(|error| panic!("where does this thread's stack begin? {error}"));
        StackNote { stack: stack.start.as_usize()..stack.end.as_usize(), top: AtomicUsize::new(0) }
    }

    /// Runs `f`, in which the thread may be stopped.
    #[inline(never)]
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        let registers = preserved_registers();
        let mut result = None;
        let mut f = Some(f);
        let mut once = || result = f.take().map(|f| f());
        self.run_below(&mut once);
        std::hint::black_box(&registers);
        result.expect("run_below calls it")
    }

    /// A frame of its own, so that all of the caller's lies above the note.
    #[inline(never)]
    fn run_below(&self, f: &mut dyn FnMut()) {
        let here = 0usize;
        let here = Address::from_usize(std::hint::black_box(&raw const here) as usize).align_down(size_of::<usize>());
        struct Restore<'a>(&'a AtomicUsize, usize);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.store(self.1, Relaxed);
            }
        }
        let _restore = Restore(&self.top, self.top.swap(here.as_usize(), Relaxed));
        f();
    }

    /// The words that may hold what the stopped thread refers to. None if it stopped on another stack than
    /// its own, which the binding then passes in `scan_ambiguous`.
    pub fn range(&self) -> Range<Address> {
        let (top, end) = (self.top.load(Relaxed), self.stack.end);
        let top = if self.stack.contains(&top) { top } else { end };
        Address::from_usize(top)..Address::from_usize(end)
    }
}

/// Reads the words of a range.
pub(crate) fn each_word(range: Range<Address>, mut visit: impl FnMut(usize)) {
    let mut at = range.start.align_up(size_of::<usize>());
    while at.plus(size_of::<usize>()) <= range.end {
        // SAFETY: an aligned word that is mapped (I1, I3). Volatile: it may hold anything at all, and change
        // (I2).
        visit(unsafe { at.as_mut_ptr::<usize>().read_volatile() });
        at = at.plus(size_of::<usize>());
    }
}

/// The addresses of the calling thread's stack.
fn stack_of_this_thread() -> io::Result<Range<Address>> {
    let check = |code| if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) };
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut start, mut bytes) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes are written by the first call before they are read by the second, and destroyed
    // once.
    unsafe {
        check(libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()))?;
        let found = check(libc::pthread_attr_getstack(attributes.as_ptr(), &mut start, &mut bytes));
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        found?;
    }
    let start = Address::from_usize(start as usize);
    Ok(start..start.plus(bytes))
}

/// The registers that a function must preserve for its caller, who may keep references in them.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn preserved_registers() -> [usize; 6] {
    let mut registers = [0usize; 6];
    // SAFETY: stores six words to an array of six words; reads registers and changes none.
    unsafe {
        std::arch::asm!(
            "mov [{to}], rbx",
            "mov [{to} + 8], rbp",
            "mov [{to} + 16], r12",
            "mov [{to} + 24], r13",
            "mov [{to} + 32], r14",
            "mov [{to} + 40], r15",
            to = in(reg) registers.as_mut_ptr(),
            options(nostack, preserves_flags),
        );
    }
    registers
}

/// The registers that a function must preserve for its caller, who may keep references in them.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn preserved_registers() -> [usize; 12] {
    let mut registers = [0usize; 12];
    // SAFETY: stores twelve words to an array of twelve words; reads registers and changes none.
    unsafe {
        std::arch::asm!(
            "stp x19, x20, [{to}]",
            "stp x21, x22, [{to}, #16]",
            "stp x23, x24, [{to}, #32]",
            "stp x25, x26, [{to}, #48]",
            "stp x27, x28, [{to}, #64]",
            "stp x29, x30, [{to}, #80]",
            to = in(reg) registers.as_mut_ptr(),
            options(nostack, preserves_flags),
        );
    }
    registers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_on_the_stack_of_the_caller_is_among_the_words() {
        let note = StackNote::of_this_thread();
        let secret = std::hint::black_box([0x5eed_f00d_0000_0001usize, 0x5eed_f00d_0000_0002]);
        let mut seen = [0; 2];
        note.run(|| {
            each_word(note.range(), |word| {
                for (n, count) in seen.iter_mut().enumerate() {
                    *count += usize::from(word == 0x5eed_f00d_0000_0001 + n);
                }
            });
        });
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
        std::hint::black_box(&secret);
        assert!(note.range().is_empty(), "back where it may not be stopped");
    }

    /// A word that is nowhere but in one register: `masked` and `key` are known, their exclusive or is not.
    #[cfg(target_arch = "x86_64")]
    struct Hidden {
        note: StackNote,
        masked: usize,
        key: usize,
        seen: usize,
    }

    #[cfg(target_arch = "x86_64")]
    extern "C" fn look_for(hidden: &mut Hidden) {
        let Hidden { note, masked, key, seen } = hidden;
        note.run(|| each_word(note.range(), |word| *seen += usize::from(word ^ *key == *masked)));
    }

    /// The functions on the way to the note may save some of these registers for uses of their own, so all
    /// are tried.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn what_is_in_a_register_alone_is_among_the_words() {
        let hidden = |masked| Hidden { note: StackNote::of_this_thread(), masked, key: 0x0123_4567_89ab_cdef, seen: 0 };
        macro_rules! in_register {
            ($register:literal) => {{
                let mut hidden = std::hint::black_box(hidden(0x5eed_f00d_5eed_f00d));
                // SAFETY: a call of a function with the C calling convention, which preserves the register;
                // what else it may change is told to the compiler. The stack is aligned again when it is
                // called.
                unsafe {
                    std::arch::asm!(
                        concat!("push ", $register),
                        "sub rsp, 8",
                        concat!("mov ", $register, ", rax"),
                        concat!("xor ", $register, ", rcx"),
                        "xor eax, eax",
                        "call {look_for}",
                        "add rsp, 8",
                        concat!("pop ", $register),
                        look_for = sym look_for,
                        in("rdi") &raw mut hidden,
                        in("rax") hidden.masked,
                        in("rcx") hidden.key,
                        clobber_abi("C"),
                    );
                }
                ($register, hidden.seen > 0)
            }};
        }
        let seen = [
            in_register!("rbx"),
            in_register!("rbp"),
            in_register!("r12"),
            in_register!("r13"),
            in_register!("r14"),
            in_register!("r15"),
        ];
        assert!(seen.iter().all(|(_, seen)| *seen), "{seen:?}");
    }

    #[test]
    fn a_thread_that_stopped_on_another_stack_has_no_words_of_its_own() {
        let note = StackNote::of_this_thread();
        std::thread::scope(|scope| {
            scope.spawn(|| note.run(|| assert!(note.range().is_empty())));
        });
    }

    #[test]
    fn the_stack_of_a_thread_surrounds_its_locals() {
        std::thread::spawn(|| {
            let local = 0usize;
            let at = Address::from_usize(&raw const local as usize);
            assert!(stack_of_this_thread().unwrap().contains(&at));
        })
        .join()
        .unwrap();
    }
}
