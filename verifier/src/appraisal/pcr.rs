//! What each PCR measures (TCG PC Client PFP §3.3.4; Linux boot chain by
//! custom), and which trustworthiness claim it therefore concerns.

use holdfast_proto::result::Claim;

/// What a PCR says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    /// For people.
    pub(super) measures: &'static str,
    /// [`Claim::Executables`] or [`Claim::Configuration`].
    pub(super) concerns: Claim,
}

/// The meaning of a PCR. One that has no fixed meaning is taken to measure
/// code, the graver of the two.
pub(super) fn meaning(index: u32) -> Meaning {
    let (measures, concerns) = match index {
        0 => ("platform firmware", Claim::Executables),
        1 => ("platform configuration", Claim::Configuration),
        2 => ("option ROM code", Claim::Executables),
        3 => ("option ROM configuration", Claim::Configuration),
        4 => ("boot manager code", Claim::Executables),
        5 => (
            "boot manager configuration and partition table",
            Claim::Configuration,
        ),
        6 => ("platform maker's use", Claim::Configuration),
        7 => ("Secure Boot policy", Claim::Configuration),
        8 => (
            "boot loader commands and kernel command line",
            Claim::Configuration,
        ),
        9 => (
            "files that the boot loader read: kernel, initrd",
            Claim::Executables,
        ),
        10 => ("IMA measurement list", Claim::Executables),
        11 => ("unified kernel image", Claim::Executables),
        12 => ("kernel command line and credentials", Claim::Configuration),
        13 => ("system extension images", Claim::Executables),
        14 => ("shim: machine owner keys", Claim::Configuration),
        15 => ("system identity", Claim::Configuration),
        _ => ("no fixed use", Claim::Executables),
    };
    Meaning { measures, concerns }
}
