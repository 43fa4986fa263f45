//! The allocator of the C library, looked at on the way: which calls come from a thread that is in a pause.
//!
//! The functions here take the place of the C library's in this program, and call the library's own. Each
//! checks where it is called from. Calls inside the library (`strdup`, `pthread_create`) are not seen. Each
//! place is noted once, with its stack.

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

unsafe extern "C" {
    fn __libc_malloc(bytes: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, bytes: usize) -> *mut c_void;
    fn __libc_realloc(old: *mut c_void, bytes: usize) -> *mut c_void;
    fn __libc_memalign(align: usize, bytes: usize) -> *mut c_void;
    fn __libc_free(old: *mut c_void);
}

/// Calls that came from a pause, from one place.
pub struct Call {
    /// The function.
    pub function: &'static str,
    /// The functions of this project that led to it, the innermost first.
    pub through: Vec<String>,
    /// The thread that called first.
    pub thread: ThreadId,
    /// The addresses that it would return to, by which it is told from others.
    returns: Vec<usize>,
}

/// Frames that tell one place from another.
const FRAMES: usize = 8;

static SEEN: Mutex<Vec<Call>> = Mutex::new(Vec::new());

// Without destructors, whose registration would allocate.
thread_local! {
    static LOOKS: Cell<bool> = const { Cell::new(false) };
}

fn seen() -> MutexGuard<'static, Vec<Call>> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes what was seen until now.
pub fn take() -> Vec<Call> {
    std::mem::take(&mut seen())
}

/// What the C library allocates for its first look at a stack.
pub fn prepare() {
    LOOKS.set(true);
    let mut returns = [std::ptr::null_mut(); 4];
    // SAFETY: there is room for so many addresses.
    unsafe { libc::backtrace(returns.as_mut_ptr(), returns.len() as c_int) };
    LOOKS.set(false);
}

/// Somebody calls `function`.
fn look(function: &'static str) {
    // A panic that is being reported holds the lock of backtraces.
    if !mmtk_core::in_pause() || std::thread::panicking() || LOOKS.replace(true) {
        return;
    }
    note(function);
    LOOKS.set(false);
}

/// Keeps the call, if none came from its place before.
fn note(function: &'static str) {
    let mut returns = [std::ptr::null_mut(); FRAMES];
    // SAFETY: there is room for so many addresses.
    let frames = unsafe { libc::backtrace(returns.as_mut_ptr(), FRAMES as c_int) };
    let returns: Vec<usize> = returns[..frames as usize].iter().map(|address| address.addr()).collect();
    let (mut seen, thread) = (seen(), std::thread::current().id());
    if !seen.iter().any(|call| call.returns == returns && call.function == function && call.thread == thread) {
        let through = ours(&Backtrace::force_capture().to_string());
        seen.push(Call { function, through, thread, returns });
    }
}

/// The functions of the project in a backtrace.
fn ours(backtrace: &str) -> Vec<String> {
    let names = backtrace.lines().filter_map(|line| line.trim_start().split_once(": ").map(|(_, name)| name));
    let is_ours =
        |name: &&str| ["mmtk_core::", "policies::", "protocols::", "pacer::"].iter().any(|c| name.contains(c));
    let looks = |name: &&str| name.contains("interposed::") || name.contains("mmtk_core::callback");
    names.filter(is_ours).filter(|name| !looks(name)).map(str::to_string).collect()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn malloc(bytes: usize) -> *mut c_void {
    look("malloc");
    // SAFETY: the caller's call.
    unsafe { __libc_malloc(bytes) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn calloc(count: usize, bytes: usize) -> *mut c_void {
    look("calloc");
    // SAFETY: the caller's call.
    unsafe { __libc_calloc(count, bytes) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(old: *mut c_void, bytes: usize) -> *mut c_void {
    look("realloc");
    // SAFETY: the caller's call.
    unsafe { __libc_realloc(old, bytes) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn free(old: *mut c_void) {
    // Of nothing: no lock is taken.
    if !old.is_null() {
        look("free");
    }
    // SAFETY: the caller's call.
    unsafe { __libc_free(old) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memalign(align: usize, bytes: usize) -> *mut c_void {
    look("memalign");
    // SAFETY: the caller's call.
    unsafe { __libc_memalign(align, bytes) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn aligned_alloc(align: usize, bytes: usize) -> *mut c_void {
    look("aligned_alloc");
    // SAFETY: the caller's call.
    unsafe { __libc_memalign(align, bytes) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(place: *mut *mut c_void, align: usize, bytes: usize) -> c_int {
    look("posix_memalign");
    // SAFETY: the caller's call.
    let memory = unsafe { __libc_memalign(align, bytes) };
    if memory.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller's place for the result.
    unsafe { place.write(memory) };
    0
}
