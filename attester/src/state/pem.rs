//! PEM (RFC 7468), written only: what is read back is the JSON beside it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// RFC 7468 §2: lines of 64 characters.
const LINE: usize = 64;

pub(super) fn certificates<C: AsRef<[u8]>>(chain: impl IntoIterator<Item = C>) -> String {
    chain
        .into_iter()
        .map(|der| block("CERTIFICATE", der.as_ref()))
        .collect()
}

pub(super) fn block(label: &str, der: &[u8]) -> String {
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut text = STANDARD.encode(der);
    while !text.is_empty() {
        let rest = text.split_off(text.len().min(LINE));
        pem.push_str(&text);
        pem.push('\n');
        text = rest;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}
