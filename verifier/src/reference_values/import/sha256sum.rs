//! What `sha256sum`, `sha384sum` and `sha512sum` print: GNU coreutils' form,
//! `<hex> <space or *><name>`, or with `--tag` BSD's, `SHA256 (<name>) = <hex>`.
//! A line that starts with a backslash has an escaped name; one that starts
//! with `#` is a comment. Which algorithm a digest is of tells its length.

use holdfast_proto::tpm::HashAlg;

use crate::reference_values::allow_list::{
    AllowListBuilder, AllowListError, LineFault, algorithm, unescaped,
};

/// Longest file read, in bytes.
pub const MAX_FILE_BYTES: usize = 64 * 1024 * 1024;
/// Longest line: a path of 4096 bytes, each escaped, and a digest of SHA-512.
const MAX_LINE_BYTES: usize = 2 * 4096 + 128 + 64;

/// What is wrong with a checksum file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChecksumError {
    /// More than [`MAX_FILE_BYTES`].
    #[error("{0} bytes: a checksum file has at most {MAX_FILE_BYTES}")]
    TooLong(usize),
    /// No line says anything.
    #[error("no checksum in it")]
    Empty,
    /// Not a line that coreutils write.
    #[error("line {number}: {fault}")]
    Line {
        /// Counted from 1.
        number: usize,
        /// Why.
        fault: LineFault,
    },
    /// A relative name, and nothing says where it is.
    #[error(
        "line {0}: the name is relative; make the list with absolute names or from / \
         (cd / && find ./usr -type f -exec sha256sum {{}} +), or say where it is with --prefix"
    )]
    Relative(usize),
    /// The list that it goes into does not take it.
    #[error("line {number}: {source}")]
    List {
        /// Counted from 1.
        number: usize,
        /// Why.
        source: AllowListError,
    },
}

/// Adds each line of `text` to a list, and says how many there were. A name
/// that starts with `./` is from `/`; any other relative name is refused, but
/// both are below `prefix` where one is given.
///
/// # Errors
/// [`ChecksumError`] names the line. What was before it has been added.
pub fn read(
    text: &[u8],
    prefix: Option<&str>,
    list: &mut AllowListBuilder,
) -> Result<usize, ChecksumError> {
    if text.len() > MAX_FILE_BYTES {
        return Err(ChecksumError::TooLong(text.len()));
    }
    let mut entries = 0_usize;
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let number = index.saturating_add(1);
        // A file that was on Windows ends its lines in CR LF; coreutils escape
        // a CR in a name.
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let (alg, digest, name) =
            parse(line).map_err(|fault| ChecksumError::Line { number, fault })?;
        let path = absolute(&name, prefix).ok_or(ChecksumError::Relative(number))?;
        list.add(&path, alg, &digest)
            .map_err(|source| ChecksumError::List { number, source })?;
        entries = entries.saturating_add(1);
    }
    if entries == 0 {
        return Err(ChecksumError::Empty);
    }
    Ok(entries)
}

/// Whether the first line that says anything is one of a checksum file.
#[must_use]
pub fn looks_like_one(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .find(|line| !line.is_empty() && !line.starts_with(b"#"))
        .is_some_and(|line| parse(line).is_ok())
}

type Parsed = (HashAlg, Vec<u8>, Vec<u8>);

fn parse(line: &[u8]) -> Result<Parsed, LineFault> {
    if line.len() > MAX_LINE_BYTES {
        return Err(LineFault::TooLong);
    }
    let (escaped, body) = match line.strip_prefix(b"\\") {
        Some(body) => (true, body),
        None => (false, line),
    };
    let (alg, hex, name) = match tagged(body)? {
        Some(parts) => parts,
        None => plain(body)?,
    };
    let mut digest = vec![0; alg.digest_len()];
    hex::decode_to_slice(hex, &mut digest).map_err(|_| LineFault::Digest)?;
    let name = if escaped {
        unescaped(name).ok_or(LineFault::Escape)?.into_owned()
    } else {
        name.to_vec()
    };
    Ok((alg, digest, name))
}

type Cut<'a> = (HashAlg, &'a [u8], &'a [u8]);

/// `<hex> <space or *><name>`.
fn plain(body: &[u8]) -> Result<Cut<'_>, LineFault> {
    let len = body
        .iter()
        .position(|byte| !byte.is_ascii_hexdigit())
        .unwrap_or(body.len());
    let (hex, rest) = body.split_at_checked(len).ok_or(LineFault::Digest)?;
    let alg = algorithm(len)?;
    let name = rest
        .strip_prefix(b"  ")
        .or_else(|| rest.strip_prefix(b" *"))
        .ok_or(LineFault::Separator)?;
    Ok((alg, hex, name))
}

/// `<ALG> (<name>) = <hex>`; none where the line is of the other form.
fn tagged(body: &[u8]) -> Result<Option<Cut<'_>>, LineFault> {
    let known: [(&[u8], HashAlg); 3] = [
        (b"SHA256 (", HashAlg::Sha256),
        (b"SHA384 (", HashAlg::Sha384),
        (b"SHA512 (", HashAlg::Sha512),
    ];
    let weak: [&[u8]; 2] = [b"MD5 (", b"SHA1 ("];
    if weak.iter().any(|tag| body.starts_with(tag)) {
        return Err(LineFault::WeakDigest);
    }
    let Some((alg, rest)) = known
        .into_iter()
        .find_map(|(tag, alg)| Some((alg, body.strip_prefix(tag)?)))
    else {
        return Ok(None);
    };
    // The name may hold `) = ` itself: the digest's length is known.
    let at = rest
        .len()
        .checked_sub(alg.digest_len().saturating_mul(2))
        .ok_or(LineFault::Digest)?;
    let (name, hex) = rest.split_at_checked(at).ok_or(LineFault::Digest)?;
    let name = name.strip_suffix(b") = ").ok_or(LineFault::Separator)?;
    Ok(Some((alg, hex, name)))
}

fn absolute(name: &[u8], prefix: Option<&str>) -> Option<Vec<u8>> {
    if name.starts_with(b"/") {
        return Some(name.to_vec());
    }
    let here = name.strip_prefix(b"./");
    let prefix = match (prefix, here) {
        (Some(prefix), _) => prefix.trim_end_matches('/'),
        (None, Some(_)) => "",
        (None, None) => return None,
    };
    Some([prefix.as_bytes(), b"/", here.unwrap_or(name)].concat())
}
