//! PEM as it is written (RFC 7468). Reading is rustls-pki-types' business.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Characters of base64 on a line (RFC 7468 §2).
const LINE: usize = 64;

/// One block with its labels, ending in a newline.
#[must_use]
pub fn encode(label: &str, der: &[u8]) -> String {
    let base64 = zeroize::Zeroizing::new(STANDARD.encode(der));
    let mut out = String::with_capacity(base64.len().saturating_add(base64.len() / LINE + 80));
    out.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII: every offset is a character boundary.
        let (line, tail) = rest.split_at(rest.len().min(LINE));
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

/// `CERTIFICATE` blocks of a chain, in order.
#[must_use]
pub fn encode_chain(chain: &[Vec<u8>]) -> String {
    chain.iter().map(|der| encode("CERTIFICATE", der)).collect()
}
