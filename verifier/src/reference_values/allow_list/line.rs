//! One line of a list: `<hex>  <path>`, as GNU coreutils writes it. A name with
//! a backslash or a line break is escaped, and its line starts with a backslash
//! (coreutils manual, "md5sum invocation").

use std::{borrow::Cow, cmp::Ordering};

use holdfast_proto::tpm::HashAlg;

use super::{LineFault, MAX_PATH_BYTES, PathFault};

/// A line without its newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) alg: HashAlg,
    pub(super) hex: &'a [u8],
    /// As written: escaped where the path needs it.
    pub(super) name: &'a [u8],
}

impl<'a> Line<'a> {
    /// Reads a line in its canonical form.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, LineFault> {
        let line = Self::cut(text)?;
        let lower = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if !line.hex.iter().all(lower) {
            return Err(LineFault::Digest);
        }
        let path = unescaped(line.name).ok_or(LineFault::Escape)?;
        let marked = text.starts_with(b"\\");
        if marked != line.name.contains(&b'\\') || escaped(&path) != line.name {
            return Err(LineFault::Escape);
        }
        normal(&path)?;
        Ok(line)
    }

    /// Cuts a line in its parts, without looking into them.
    pub(super) fn cut(text: &'a [u8]) -> Result<Self, LineFault> {
        let body = text.strip_prefix(b"\\").unwrap_or(text);
        let len = body
            .iter()
            .position(|byte| *byte == b' ')
            .ok_or(LineFault::Separator)?;
        let (hex, rest) = body.split_at_checked(len).ok_or(LineFault::Digest)?;
        let name = rest.strip_prefix(b"  ").ok_or(LineFault::Separator)?;
        let alg = algorithm(len)?;
        Ok(Self { alg, hex, name })
    }

    /// By name as the kernel logs it, then by digest, then by the very name.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        compare_names(self.name, other.name)
            .then_with(|| self.hex.cmp(other.hex))
            .then_with(|| self.name.cmp(other.name))
    }
}

/// The text up to the next newline, and what is after it.
pub(super) fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = text.split_at_checked(end)?;
    Some((line, rest.strip_prefix(b"\n")?))
}

/// The algorithm whose digest takes so many hex digits.
pub(in crate::reference_values) fn algorithm(hex_digits: usize) -> Result<HashAlg, LineFault> {
    match hex_digits {
        64 => Ok(HashAlg::Sha256),
        96 => Ok(HashAlg::Sha384),
        128 => Ok(HashAlg::Sha512),
        32 | 40 => Err(LineFault::WeakDigest),
        _ => Err(LineFault::Digest),
    }
}

/// Compares names as the kernel logs them: it writes an underscore for each
/// space (`ima_write_template_field_data`).
pub(super) fn compare_names(one: &[u8], other: &[u8]) -> Ordering {
    fn logged(name: &[u8]) -> impl Iterator<Item = u8> {
        name.iter()
            .map(|byte| if *byte == b' ' { b'_' } else { *byte })
    }
    logged(one).cmp(logged(other))
}

/// A path as it stands in a line.
pub(super) fn escaped(path: &[u8]) -> Cow<'_, [u8]> {
    if !path
        .iter()
        .any(|byte| matches!(byte, b'\\' | b'\n' | b'\r'))
    {
        return Cow::Borrowed(path);
    }
    let mut name = Vec::with_capacity(path.len().saturating_add(8));
    for byte in path {
        match byte {
            b'\\' => name.extend(b"\\\\"),
            b'\n' => name.extend(b"\\n"),
            b'\r' => name.extend(b"\\r"),
            other => name.push(*other),
        }
    }
    Cow::Owned(name)
}

/// The inverse of [`escaped`]; none for any other escape.
pub(in crate::reference_values) fn unescaped(name: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !name.contains(&b'\\') {
        return Some(Cow::Borrowed(name));
    }
    let mut path = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        path.push(match byte {
            b'\\' => match bytes.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                b'r' => b'\r',
                _ => return None,
            },
            other => *other,
        });
    }
    Some(Cow::Owned(path))
}

/// Refuses a path that the kernel would not log.
pub(super) fn normal(path: &[u8]) -> Result<(), PathFault> {
    if path.len() > MAX_PATH_BYTES {
        return Err(PathFault::TooLong);
    }
    if path.contains(&0) {
        return Err(PathFault::Nul);
    }
    let components = path.strip_prefix(b"/").ok_or(PathFault::NotAbsolute)?;
    if components
        .split(|byte| *byte == b'/')
        .any(|component| matches!(component, b"" | b"." | b".."))
    {
        return Err(PathFault::NotNormal);
    }
    Ok(())
}
