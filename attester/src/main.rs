//! `holdfast-attester`: the gateway's program. Everything is in the library;
//! here is only what must happen before it.
//!
//! Two libraries read the environment before a program can set anything, and
//! changing one's own environment is `unsafe`: so the program starts itself once
//! more where a variable is missing.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// libtss2 writes its own words to stderr unless this says otherwise.
const TSS2_LOG: (&str, &str) = ("TSS2_LOG", "all+NONE");

/// For the daemon alone, whose memory is to be small and not fast: the heap of
/// glibc is one for all threads, keeps nothing aside for them, and gives back
/// what an act no longer needs. Half a MiB less (scripts/footprint.sh).
const SMALL_HEAP: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0:glibc.malloc.trim_threshold=16384:\
     glibc.malloc.top_pad=0:glibc.malloc.mmap_threshold=32768",
);
const DAEMON: &str = "run";

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next();
    // Another argument of that name costs a start; nothing else.
    let is_daemon = std::env::args_os().any(|arg| arg == OsStr::new(DAEMON));
    let missing: Vec<_> = [Some(TSS2_LOG), is_daemon.then_some(SMALL_HEAP)]
        .into_iter()
        .flatten()
        .filter(|(variable, _)| std::env::var_os(variable).is_none())
        .collect();
    if !missing.is_empty() {
        let mut again = Command::new("/proc/self/exe");
        if let Some(name) = name {
            again.arg0(name);
        }
        // Returns only where it failed: then libtss2 is heard, the heap is
        // larger, and no harm done.
        let _ = again.args(args).envs(missing).exec();
    }
    holdfast_attester::cli::main()
}
