//! Ctrl-C and its like: noted here, acted upon by whoever waits, so that every
//! guard on the way out does its work. A second one ends the program at once,
//! and the kernel ends its children.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::Failure;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// How often whoever waits looks here.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// Watches for SIGINT, SIGTERM and SIGHUP from now on.
pub(crate) fn watch() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    drop(entered);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                        _ = hangup.recv() => {}
                    }
                    if REQUESTED.swap(true, Ordering::SeqCst) {
                        std::process::exit(130);
                    }
                }
            });
        })?;
    Ok(())
}

/// Whether it is time to go.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// An error where it is time to go.
pub(crate) fn check() -> Result<(), Failure> {
    if requested() {
        Err(Failure::Interrupted)
    } else {
        Ok(())
    }
}
