//! Tests that lack something on this machine say so, and are counted.

use std::io::Write;

/// Ends the test as skipped, with the reason. `make test` shows and counts it.
///
/// For what the machine lacks (an oracle that is not installed), never for
/// what fails.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        fn here() {}
        $crate::record_skip(std::any::type_name_of_val(&here), &format!($($reason)+));
        return $crate::Ending::skipped();
    }};
}

/// What a test may return.
#[doc(hidden)]
pub trait Ending {
    /// The value of a test that ends early.
    fn skipped() -> Self;
}

impl Ending for () {
    fn skipped() -> Self {}
}

impl<E> Ending for Result<(), E> {
    fn skipped() -> Self {
        Ok(())
    }
}

/// Writes one line to the file named by `HOLDFAST_SKIP_LOG` and to stderr. Use
/// [`skip!`](crate::skip).
#[doc(hidden)]
pub fn record_skip(here: &str, reason: &str) {
    let test = here
        .trim_end_matches("::here")
        .trim_end_matches("::{{closure}}");
    let line = format!("{test}: {reason}\n");
    eprint!("skipped: {line}");
    if let Some(path) = std::env::var_os("HOLDFAST_SKIP_LOG") {
        let written = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .and_then(|mut log| log.write_all(line.as_bytes()));
        if let Err(error) = written {
            panic!("HOLDFAST_SKIP_LOG={}: {error}", path.display());
        }
    }
}
