//! Faults that can be explained: a handler for SIGSEGV and SIGBUS that asks the explainers whether they know
//! the address, prints the answer, and passes the signal on to the handler that was there before.
//!
//! 1. `explain_faults` enters an explainer into a table of the process; the first one installs the handler.
//! 2. At a fault the handler goes through the table. If an explainer knows the address, its text goes to
//!    standard error.
//! 3. Known or not, the handler that was there before is called, as it would have been called by the system.
//!    If there was none, the default is restored and the handler returns: the access is repeated, and ends
//!    the process with the right signal.
//!
//! This belongs to the process and not to a heap, since signals do.
//!
//! I1. The handler allocates nothing and waits for no lock: it runs in the middle of anything. It formats
//!     into a buffer on its stack.
//! I2. An explainer is dropped only when its entry is cleared and no handler is between reading the table and
//!     leaving it (`inside`).
//! I3. `before` is written before the handler is installed.
//! Callers: `explain_faults` any thread; the handler whichever thread faults.

use crate::address::Address;
use protocols::sync::Mutex;
use std::fmt::{self, Write};
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

/// Code that knows what lies, or lay, at an address.
pub trait Explainer: Send + Sync {
    /// Writes what is known of the address and returns true; or returns false, having written nothing. Runs
    /// in a signal handler: it must not allocate, nor wait for a lock.
    fn explain(&self, address: Address, out: &mut dyn Write) -> Result<bool, fmt::Error>;
}

/// How many explainers there can be at a time; later ones are not asked.
const EXPLAINERS: usize = 64;
const SIGNALS: [i32; 2] = [libc::SIGSEGV, libc::SIGBUS];

struct Entry(Arc<dyn Explainer>);

static TABLE: [AtomicPtr<Entry>; EXPLAINERS] = [const { AtomicPtr::new(std::ptr::null_mut()) }; EXPLAINERS];
/// Handlers between reading the table and leaving it.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
static INSTALLING: Mutex<()> = Mutex::new(());
/// What handled the signals before, in the order of `SIGNALS`.
static BEFORE: OnceLock<[libc::sigaction; 2]> = OnceLock::new();

/// Faults are explained as long as this lives.
pub struct Explained(Option<&'static AtomicPtr<Entry>>);

/// From now on `explainer` is asked about addresses at which a thread of this process faults.
///
/// # Errors
/// When the system refuses the handler.
pub fn explain_faults(explainer: Arc<dyn Explainer>) -> io::Result<Explained> {
    install()?;
    let entry = Box::into_raw(Box::new(Entry(explainer)));
    let free = TABLE.iter().find(|slot| slot.compare_exchange(std::ptr::null_mut(), entry, SeqCst, SeqCst).is_ok());
    if free.is_none() {
        // SAFETY: made above, and nobody else has seen it.
        drop(unsafe { Box::from_raw(entry) });
    }
    Ok(Explained(free))
}

impl Drop for Explained {
    fn drop(&mut self) {
        let Some(slot) = self.0.take() else { return };
        let entry = slot.swap(std::ptr::null_mut(), SeqCst);
        while INSIDE.load(SeqCst) > 0 {
            std::thread::yield_now();
        }
        // SAFETY: made in `explain_faults`, taken out of the table here, and no handler has it any more (I2).
        drop(unsafe { Box::from_raw(entry) });
    }
}

fn install() -> io::Result<()> {
    let _one = INSTALLING.lock();
    if BEFORE.get().is_some() {
        return Ok(());
    }
    let mut before = [MaybeUninit::<libc::sigaction>::zeroed(); 2];
    for (signal, before) in SIGNALS.into_iter().zip(&mut before) {
        // SAFETY: asks for the present action, which is written to a place of ours.
        if unsafe { libc::sigaction(signal, std::ptr::null(), before.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: the calls above have written both.
    let _ = BEFORE.set(before.map(|action| unsafe { action.assume_init() }));
    for signal in SIGNALS {
        // SAFETY: an action is plain data, for which zero is valid; the handler has the signature that
        // SA_SIGINFO asks for.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(signal, &action, std::ptr::null_mut())
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

extern "C" fn handle(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system passes what it says it passes to a handler with SA_SIGINFO.
    let address = Address::from_ptr(unsafe { (*info).si_addr() });
    INSIDE.fetch_add(1, SeqCst);
    let mut text = Text::new();
    for slot in &TABLE {
        let entry = slot.load(SeqCst);
        // SAFETY: it is in the table, and stays alive while we are inside (I2).
        let Some(Entry(explainer)) = (unsafe { entry.as_ref() }) else { continue };
        let _ = write!(text, "\nthread {} ", thread_id());
        // SAFETY: as above.
        let _ = unsafe { describe_access(context, &mut text) };
        let _ = writeln!(text, " at {address} ({}):", if signal == libc::SIGBUS { "SIGBUS" } else { "SIGSEGV" });
        if explainer.explain(address, &mut text) == Ok(true) {
            text.print();
            break;
        }
        text = Text::new();
    }
    INSIDE.fetch_sub(1, SeqCst);
    // SAFETY: as above.
    unsafe { pass_on(signal, info, context) };
}

fn thread_id() -> i64 {
    // SAFETY: a call without arguments that cannot fail.
    unsafe { libc::syscall(libc::SYS_gettid) }
}

/// What the thread was doing, as far as the machine tells.
///
/// # Safety
/// The context is the one that the system passed to the handler.
unsafe fn describe_access(context: *mut libc::c_void, out: &mut Text) -> fmt::Result {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: the caller's promise; on this machine it is a `ucontext_t`.
        let registers = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
        // Bit 1 of the page-fault error code: the access was a write.
        let write = registers[libc::REG_ERR as usize] & 2 != 0;
        let what = if write { "wrote" } else { "read" };
        write!(out, "{what}, with the instruction at {:#x},", registers[libc::REG_RIP as usize])
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = context;
        write!(out, "accessed memory")
    }
}

/// Calls the handler that was there before, or restores the default, under which the access is repeated.
///
/// # Safety
/// The arguments are those of the handler.
unsafe fn pass_on(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let before = BEFORE.get().map(|both| &both[usize::from(signal == SIGNALS[1])]);
    let Some(before) = before else { return };
    match before.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: an action that was in force before.
            unsafe { libc::sigaction(signal, before, std::ptr::null_mut()) };
        }
        handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: who installed it promised this signature with the flag.
            let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: who installed it promised this signature without the flag.
            let handler: extern "C" fn(i32) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}

/// Text in a buffer of its own; what does not fit is cut off.
struct Text {
    bytes: [u8; 1024],
    len: usize,
}

impl Text {
    fn new() -> Text {
        Text { bytes: [0; 1024], len: 0 }
    }

    fn print(&self) {
        let mut rest = &self.bytes[..self.len];
        while !rest.is_empty() {
            // SAFETY: a call that reads bytes of ours.
            let written = unsafe { libc::write(libc::STDERR_FILENO, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(written) {
                Ok(written) if written > 0 => rest = &rest[written..],
                _ => return,
            }
        }
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.len() - self.len;
        let taken = text.len().min(room);
        self.bytes[self.len..self.len + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.len += taken;
        Ok(())
    }
}
