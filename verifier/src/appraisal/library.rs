//! The policies that come with Holdfast, each with examples that show what it
//! affirms and what it refuses (`verifier/policies/examples/`).

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// What it is called.
    pub name: &'static str,
    /// When to use it, in a line.
    pub about: &'static str,
    /// Whether it has lists that are the owner's to fill.
    pub lists: bool,
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
        lists: false,
        source: DEFAULT_POLICY,
    },
    Shipped {
        name: "secure-boot",
        about: "the boot log proves Secure Boot and a harmless command line; needs no reference values",
        lists: true,
        source: include_str!("../../policies/secure-boot.rego"),
    },
    Shipped {
        name: "measured-boot",
        about: "the boot log proves that only what the owner lists in it was started; edit it first",
        lists: true,
        source: include_str!("../../policies/measured-boot.rego"),
    },
    Shipped {
        name: "ima",
        about: "as default, and every file that the kernel measured is on the class's allow list",
        lists: false,
        source: include_str!("../../policies/ima.rego"),
    },
    Shipped {
        name: "hardware-only",
        about: "the TPM is endorsed and the key is in it; claims nothing of what runs",
        lists: false,
        source: include_str!("../../policies/hardware-only.rego"),
    },
];
