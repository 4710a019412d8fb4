//! Ctrl-C and SIGTERM end a scenario in order: the step under way fails, and the guards clean up.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: libc::c_int) {
    IS_INTERRUPTED.store(true, Ordering::Relaxed);
}

/// From now on the two signals are noted instead of ending the process at once.
pub fn catch() {
    let handler: extern "C" fn(libc::c_int) = note;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is allowed in a signal handler (signal-safety(7)).
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// Fails once a signal has come.
pub fn check() -> Result<()> {
    if IS_INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}
