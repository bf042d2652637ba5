//! `binary_runtime_measurements` (Linux, `ima_fs.c`), little-endian.

use std::borrow::Cow;

use super::entry::{self, IMA_DIGEST};
use super::{Entry, MAX_DATA, MAX_IMA_NAME, MAX_PCR, MAX_TEMPLATE_NAME, Template};
use crate::boot_log::{Cause, Cursor, Flaw};
use crate::tpm::HashAlg;

/// Whether a log starts like a binary one with template digests of `alg`.
pub(super) fn looks_like(log: &[u8], alg: HashAlg) -> bool {
    let mut cursor = Cursor::new(log);
    read_head(&mut cursor, alg).is_ok()
}

/// PCR, template digest and template.
#[inline]
fn read_head<'a>(cursor: &mut Cursor<'a>, alg: HashAlg) -> Result<(u32, &'a [u8], Template), Flaw> {
    let at = cursor.clone();
    let pcr = cursor.u32("pcr")?;
    if pcr > MAX_PCR {
        return Err(at.flaw("pcr", Cause::Unsupported(pcr.into())));
    }
    let logged = cursor.take("template digest", alg.digest_len())?;
    let len = cursor.size32("template name length", MAX_TEMPLATE_NAME)?;
    let at = cursor.clone();
    let name = cursor.take("template name", len)?;
    let template = std::str::from_utf8(name)
        .ok()
        .and_then(Template::from_name)
        .ok_or_else(|| at.flaw("template name", Cause::NotAllowed))?;
    Ok((pcr, logged, template))
}

/// The entry that `log` starts with; its `index` and `offset` are the caller's.
#[inline]
pub(super) fn read(log: &[u8], alg: HashAlg) -> Result<Entry<'_>, Flaw> {
    let mut cursor = Cursor::new(log);
    let (pcr, logged, template) = read_head(&mut cursor, alg)?;
    let len = if template.is_ima() {
        // No length of its own: 20 bytes, and a name with its length.
        let mut ahead = cursor.clone();
        ahead.take("d", IMA_DIGEST)?;
        IMA_DIGEST + 4 + ahead.size32("n length", MAX_IMA_NAME)?
    } else {
        cursor.size32("template data length", MAX_DATA)?
    };
    let base = cursor.offset();
    let data = cursor.take("template data", len)?;
    entry::validate(&template, data).map_err(|flaw| Flaw {
        offset: base + flaw.offset,
        ..flaw
    })?;
    Ok(Entry {
        index: 0,
        offset: 0,
        len: cursor.offset(),
        pcr,
        alg,
        logged: Cow::Borrowed(logged),
        template,
        data: Cow::Borrowed(data),
    })
}
