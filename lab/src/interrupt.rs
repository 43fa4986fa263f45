//! Ctrl-C while a child process runs: the child, and whatever it started, ends too.
//!
//! Each child leads a process group of its own, so the terminal's signal does not reach it; the handler
//! passes it on.

use std::sync::atomic::{AtomicI32, Ordering};

/// Process group of the running child, 0 when there is none.
static CHILD_GROUP: AtomicI32 = AtomicI32::new(0);

/// Installs the handler for the signals that end a program.
pub fn install() {
    let handler = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler calls only async-signal-safe functions.
        unsafe { libc::signal(signal, handler) };
    }
}

/// Says which child runs now; 0 is none.
pub fn set_child(group: i32) {
    // Relaxed: the handler runs on a thread of this process and reads this word only.
    CHILD_GROUP.store(group, Ordering::Relaxed);
}

/// Kills a child's process group.
pub fn kill_group(group: i32) {
    // SAFETY: a system call that takes numbers; the group was made for our child and is not reaped yet.
    unsafe { libc::kill(-group, libc::SIGKILL) };
}

extern "C" fn on_signal(signal: libc::c_int) {
    let group = CHILD_GROUP.load(Ordering::Relaxed);
    if group != 0 {
        kill_group(group);
        // SAFETY: async-signal-safe; the leader was killed, so this does not wait for long.
        unsafe { libc::waitpid(group, std::ptr::null_mut(), 0) };
    }
    // SAFETY: async-signal-safe, and ends the process at once.
    unsafe { libc::_exit(128 + signal) }
}
