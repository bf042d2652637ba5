//! `ascii_runtime_measurements` (Linux, `ima_fs.c`): a line per entry,
//! `<pcr> <template digest> <template> <fields>`. The template data that the
//! kernel hashed is put together again from the fields.

use std::borrow::Cow;

use super::{Entry, Field, MAX_DATA, MAX_LINE, MAX_PCR, Template, entry};
use crate::boot_log::{Cause, Flaw};
use crate::tpm::HashAlg;

fn flaw(field: &'static str, cause: Cause) -> Flaw {
    Flaw {
        field,
        offset: 0,
        cause,
    }
}

/// The entry that `log` starts with; its `index` and `offset` are the caller's.
/// The last line may lack its newline.
pub(super) fn read(log: &[u8]) -> Result<Entry<'static>, Flaw> {
    let window = log.get(..=MAX_LINE).unwrap_or(log);
    let line = match window.iter().position(|byte| *byte == b'\n') {
        Some(end) => window.get(..end).unwrap_or(window),
        None if window.len() > MAX_LINE => {
            let (value, max) = (log.len(), MAX_LINE);
            return Err(flaw("line", Cause::OverLimit { value, max }));
        }
        None => window,
    };
    // The newline is part of the entry, where there is one.
    let len = log.len().min(line.len() + 1);

    // The kernel right-aligns the PCR to two columns.
    let (pcr, rest) = column(line.trim_ascii_start(), "pcr")?;
    let pcr = decimal(pcr)
        .and_then(|pcr| u32::try_from(pcr).ok())
        .ok_or_else(|| flaw("pcr", Cause::NotText))?;
    if pcr > MAX_PCR {
        return Err(flaw("pcr", Cause::Unsupported(pcr.into())));
    }
    let (logged, rest) = column(rest, "template digest")?;
    let logged = unhex("template digest", logged)?;
    let alg = HashAlg::ALL
        .into_iter()
        .find(|alg| alg.digest_len() == logged.len())
        .ok_or_else(|| {
            let (len, expected) = (logged.len(), HashAlg::Sha1.digest_len());
            flaw("template digest", Cause::WrongLength { len, expected })
        })?;
    let (name, rest) = column(rest, "template name")?;
    let template = std::str::from_utf8(name)
        .ok()
        .and_then(Template::from_name)
        .ok_or_else(|| flaw("template name", Cause::NotAllowed))?;

    let data = template_data(&template, rest)?;
    entry::validate(&template, &data).map_err(|found| flaw(found.field, found.cause))?;
    Ok(Entry {
        index: 0,
        offset: 0,
        len,
        pcr,
        alg,
        logged: Cow::Owned(logged),
        template,
        data: Cow::Owned(data),
    })
}

/// Up to the next space, and what follows it.
fn column<'a>(line: &'a [u8], field: &'static str) -> Result<(&'a [u8], &'a [u8]), Flaw> {
    let end = line.iter().position(|byte| *byte == b' ');
    let columns = end.and_then(|end| Some((line.get(..end)?, line.get(end + 1..)?)));
    columns.ok_or_else(|| flaw(field, Cause::Truncated { missing: 1 }))
}

/// Template data as the kernel hashed it. A name may hold spaces, so that what
/// is before it is read from the left and what is after it from the right.
fn template_data(template: &Template, text: &[u8]) -> Result<Vec<u8>, Flaw> {
    let fields = template.fields();
    let name = fields.iter().position(|field| field.is_name());
    let name = name.unwrap_or_else(|| fields.len().saturating_sub(1));
    let mut columns = vec![&[][..]; fields.len()];
    let mut rest = text;
    for (field, slot) in fields.iter().zip(&mut columns).take(name) {
        (*slot, rest) = column(rest, field.id())?;
    }
    for (field, slot) in fields.iter().zip(&mut columns).skip(name + 1).rev() {
        let end = rest.iter().rposition(|byte| *byte == b' ');
        let split = end.and_then(|end| Some((rest.get(..end)?, rest.get(end + 1..)?)));
        (rest, *slot) = split.ok_or_else(|| flaw(field.id(), Cause::Truncated { missing: 1 }))?;
    }
    if let Some(slot) = columns.get_mut(name) {
        *slot = rest;
    }

    let is_ima = template.is_ima();
    let mut data = Vec::with_capacity(text.len());
    for (field, column) in fields.iter().zip(columns) {
        let content = content(*field, column, is_ima)?;
        if !(is_ima && *field == Field::Digest) {
            let value = content.len();
            let len = u32::try_from(value).ok().filter(|_| value <= MAX_DATA);
            let cause = Cause::OverLimit {
                value,
                max: MAX_DATA,
            };
            let len = len.ok_or_else(|| flaw(field.id(), cause))?;
            data.extend(len.to_le_bytes());
        }
        data.extend(content);
    }
    Ok(data)
}

/// The content of a field from its column.
fn content(field: Field, column: &[u8], is_ima: bool) -> Result<Vec<u8>, Flaw> {
    let id = field.id();
    let number = |len: usize| {
        if column.is_empty() {
            return Ok(Vec::new());
        }
        let value = decimal(column).ok_or_else(|| flaw(id, Cause::NotText))?;
        let bytes = value.to_le_bytes();
        let (low, high) = bytes.split_at_checked(len).unwrap_or((&bytes, &[]));
        let fits = high.iter().all(|byte| *byte == 0);
        fits.then(|| low.to_vec())
            .ok_or_else(|| flaw(id, Cause::Unsupported(value)))
    };
    match field {
        Field::Name if is_ima => Ok(column.to_vec()),
        Field::Name | Field::NameNg => Ok([column, b"\0"].concat()),
        Field::XattrNames if column.is_empty() => Ok(Vec::new()),
        Field::XattrNames => Ok([column, b"\0"].concat()),
        Field::ModsigDigest if column.is_empty() => Ok(Vec::new()),
        Field::DigestNg | Field::DigestNgV2 | Field::ModsigDigest => {
            let colon = column.iter().rposition(|byte| *byte == b':');
            let split = colon.and_then(|colon| column.split_at_checked(colon + 1));
            let (label, digest) = split.ok_or_else(|| flaw(id, Cause::NotText))?;
            Ok([label, b"\0", &unhex(id, digest)?].concat())
        }
        Field::Uid | Field::Gid => number(4),
        Field::Mode => number(2),
        Field::Digest
        | Field::Signature
        | Field::Buffer
        | Field::Modsig
        | Field::EvmSignature
        | Field::XattrLengths
        | Field::XattrValues => unhex(id, column),
    }
}

/// Lower-case, as the kernel prints it: there is one way to write an entry.
fn unhex(field: &'static str, text: &[u8]) -> Result<Vec<u8>, Flaw> {
    let lower = !text.iter().any(u8::is_ascii_uppercase);
    let bytes = hex::decode(text).ok().filter(|_| lower);
    bytes.ok_or_else(|| flaw(field, Cause::NotText))
}

fn decimal(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
    text.parse().ok()
}
