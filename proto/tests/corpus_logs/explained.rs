//! Where we disagree, and why.

/// Where we disagree with what is stated, in what, and why. Each must occur.
pub(super) const EXPLAINED: &[(&str, &str, &str)] = &[
    (
        "cc-eventlog/confidential-containers__trustee/CCEL_data_csv",
        "cross-check PCRs",
        "the log's only bank is SM3, which Holdfast reads and reports, but does not replay",
    ),
    (
        "google__go-eventlog/CCEL_unpadded.data.bin",
        "finding",
        "Linux wrote an EV_EVENT_TAG without its tag and size; it reads as malformed, and replays",
    ),
    (
        "intel__trustauthority-client-for-go/CCEL.data.bin",
        "finding",
        "as in CCEL_unpadded.data.bin, of which it is the padded twin",
    ),
    (
        "google__go-eventlog/option_rom_eventlog",
        "finding",
        "Windows logs its AIK as EV_NO_ACTION with a digest; it is not extended, and we say so",
    ),
    (
        "tpm2-software__tpm2-tss/binary_measurements_pc_client.bin",
        "events of PCRs",
        "the stated number, 31, is an argument that the origin's test never compares: there are 33",
    ),
    (
        "tpm2-software__tpm2-tss/sml-ima-sha1.bin",
        "parse",
        "one byte follows the twelve entries; the origin stops there, we refuse what is not whole",
    ),
    (
        "tpm2-software__tpm2-tss/sml-ima-ng-sha1-invalidated.bin",
        "parse",
        "made from a C string, it lacks the final NUL that its lengths count: refused",
    ),
    (
        "tpm2-software__tpm2-tss/sml-ima-ng-sha1-invalidated.bin",
        "violation",
        "the entry that would tell is the one that is not whole",
    ),
    (
        "linux-integrity__ima-evm-utils/test_ascii_runtime_measurements",
        "boot aggregate",
        "it is over PCRs 0 to 7: the kernel was older than 5.8. The cross-check's word is wrong",
    ),
    (
        "cc-api__evidence-api/ima_log.bin",
        "cross-check mismatches",
        "the template digest is SHA-384 and recomputes; the cross-check knows SHA-1 only",
    ),
    (
        "cc-api__evidence-api/ima_log.bin",
        "cross-check PCR 10 as logged",
        "as above; the entry is for measurement register 2, so that PCR 10 stays at reset",
    ),
    (
        "keylime__keylime/ima-log-unknown",
        "cross-check mismatches",
        "the first entry, all zeros, is a violation and has no hash to recompute",
    ),
    (
        "keylime__keylime/ima-log-unknown",
        "cross-check PCR 10 as logged",
        "logged with 32-byte digests, which the cross-check folds into a SHA-1 bank",
    ),
    (
        "keylime__keylime/ima-log-unknown",
        "cross-check PCR 10",
        "as above; and its digests are made up, so that no hash of the data gives them",
    ),
    (
        "kgoldman__acs/imasig.log",
        "cross-check PCR 10",
        "the last but three says /usr/bin/xautt where its logged digest is that of xauth: we extend \
         with the hash of what is there, the cross-check with what is logged",
    ),
    (
        "kgoldman__acs/imasig.log",
        "unverified signatures",
        "of 899, two are by other keys and one does not verify: the log demonstrates failures",
    ),
];
