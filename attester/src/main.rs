//! `holdfast-attester`: the gateway's program. Everything is in the library;
//! here is only what must happen before it.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// libtss2 writes its own words to stderr unless this variable says otherwise.
/// It reads the environment at its first message, and changing one's own
/// environment is `unsafe`: so the program starts itself once more with it.
const TSS2_LOG: &str = "TSS2_LOG";

fn main() -> ExitCode {
    if std::env::var_os(TSS2_LOG).is_none() {
        let mut args = std::env::args_os();
        let mut again = Command::new("/proc/self/exe");
        if let Some(name) = args.next() {
            again.arg0(name);
        }
        // Returns only where it failed: then libtss2 is heard, and no harm done.
        let _ = again.args(args).env(TSS2_LOG, "all+NONE").exec();
    }
    holdfast_attester::cli::main()
}
