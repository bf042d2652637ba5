//! SHA-256, as every room of the core needs it.

use ring::digest::{Context, SHA256};

/// SHA-256 over the parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    // Both are 32 bytes: the output length of SHA-256.
    out.copy_from_slice(context.finish().as_ref());
    out
}
