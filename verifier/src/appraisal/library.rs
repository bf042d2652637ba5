//! The policies that come with Holdfast, each with examples that show what it
//! affirms and what it refuses (`verifier/policies/examples/`).

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// What it is called.
    pub name: &'static str,
    /// When to use it, in a line.
    pub about: &'static str,
    /// Its source, in Rego.
    pub source: &'static str,
}

/// The policy that `init` writes into a new directory.
pub const DEFAULT_POLICY: &str = include_str!("../../policies/default.rego");

/// All of them, the default first.
pub const LIBRARY: &[Shipped] = &[
    Shipped {
        name: "default",
        about: "every quoted PCR equals a reference value of the gateway's class",
        source: DEFAULT_POLICY,
    },
    Shipped {
        name: "ima",
        about: "as default, and every file that the kernel measured is on the class's allow list",
        source: include_str!("../../policies/ima.rego"),
    },
];
