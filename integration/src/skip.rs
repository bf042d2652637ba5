//! Tests that lack something on this machine say so, and are counted.

/// Ends the test as skipped, with the reason: `make test` counts every test
/// that printed a line `skipped: REASON`, in whichever crate, and shows it.
///
/// For what the machine lacks (an oracle that is not installed), never for
/// what fails.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        eprintln!("skipped: {}", format_args!($($reason)+));
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
