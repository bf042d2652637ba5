//! One entry of an IMA log.

use std::borrow::Cow;

use super::{Field, FileDigest, ImaSignature, MAX_DATA, MAX_IMA_NAME, MAX_NAME, Template};
use crate::boot_log::decode::Text;
use crate::boot_log::{Cause, Cursor, Flaw};
use crate::tpm::{Digest, HashAlg};

/// Length of the digest of the template `ima`.
pub(super) const IMA_DIGEST: usize = 20;

/// What the name of the template `ima` is padded to with zeros before it is
/// hashed (`IMA_EVENT_NAME_LEN_MAX + 1`).
const IMA_NAME: [u8; MAX_IMA_NAME + 1] = [0; MAX_IMA_NAME + 1];

/// A well-formed entry. Its content is proven where [`Replay`](super::Replay)
/// reaches the quoted PCR, except for a violation, whose content no PCR holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub(super) index: u64,
    pub(super) offset: u64,
    pub(super) len: usize,
    pub(super) pcr: u32,
    /// The algorithm of the logged digest, and as many bytes.
    pub(super) alg: HashAlg,
    pub(super) logged: Cow<'a, [u8]>,
    pub(super) template: Template,
    /// Template data; for `ima`, as in the binary log.
    pub(super) data: Cow<'a, [u8]>,
}

impl Entry<'_> {
    /// Its number since boot, from 0.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// Offset since boot of its first byte.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Its length in the log, in bytes.
    #[must_use]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The PCR that it extends: 10, unless the owner chose another.
    #[must_use]
    pub const fn pcr(&self) -> u32 {
        self.pcr
    }

    /// The template digest as logged. What is extended is
    /// [`Entry::template_hash`].
    #[must_use]
    pub fn logged_digest(&self) -> &[u8] {
        &self.logged
    }

    /// Its template. A claim: no digest covers its name, only what it makes of
    /// the data.
    #[must_use]
    pub const fn template(&self) -> &Template {
        &self.template
    }

    /// Whether it tells of a violation: a file was written while measured, or
    /// measured while open for writing. Such an entry extends all ones.
    #[must_use]
    pub fn is_violation(&self) -> bool {
        self.logged.iter().all(|byte| *byte == 0)
    }

    /// The digest of its template data in `bank` (`ima_calc_field_array_hash`).
    #[must_use]
    pub fn template_hash(&self, bank: HashAlg) -> Digest {
        if !self.template.is_ima() {
            return bank.digest(&[&self.data]);
        }
        let name = self.field(Field::Name).unwrap_or_default();
        let (_, zeros) = IMA_NAME.split_at_checked(name.len()).unwrap_or_default();
        let digest = self.field(Field::Digest).unwrap_or_default();
        bank.digest(&[digest, name, zeros])
    }

    /// Whether the logged digest is that of the template data. Where it is not,
    /// the log was changed or the kernel hashed something else; a replay goes
    /// by the data.
    #[must_use]
    pub fn is_as_logged(&self) -> bool {
        self.is_violation() || self.template_hash(self.alg).as_bytes() == &*self.logged
    }

    /// Its fields' contents, in order.
    pub fn fields(&self) -> impl Iterator<Item = (Field, &[u8])> {
        let mut cursor = Cursor::new(&self.data);
        let is_ima = self.template.is_ima();
        let fields = self.template.fields().iter().copied();
        fields.map_while(move |field| Some((field, read_field(&mut cursor, field, is_ima).ok()?)))
    }

    /// The content of one field; none where the template has no such field.
    #[must_use]
    pub fn field(&self, field: Field) -> Option<&[u8]> {
        self.fields()
            .find_map(|(found, content)| (found == field).then_some(content))
    }

    /// The digest of the file (or buffer) that was measured. None where it is not
    /// the template's first field, as it is in each of the kernel's own: no
    /// digest covers the template's name, so that a log can call a signature or
    /// a buffer, which may hold anything, a digest.
    #[must_use]
    pub fn file_digest(&self) -> Option<FileDigest<'_>> {
        let (field, content) = self.fields().next()?;
        match field {
            Field::Digest | Field::DigestNg | Field::DigestNgV2 => {
                FileDigest::parse(field, content).ok()
            }
            _ => None,
        }
    }

    /// The name of the event: a path, `boot_aggregate`, or what a buffer is.
    /// Kernels replace each space by an underscore. None where it is not the
    /// template's second field, for the reason that [`Entry::file_digest`] has.
    #[must_use]
    pub fn name(&self) -> Option<Text<'_>> {
        let (field, content) = self.fields().nth(1)?;
        field
            .is_name()
            .then(|| Text::new(content.strip_suffix(b"\0").unwrap_or(content)))
    }

    /// The file's signature, if it has one that reads as such. It says nothing
    /// before it is verified over [`Entry::file_digest`].
    #[must_use]
    pub fn signature(&self) -> Option<ImaSignature<'_>> {
        ImaSignature::parse(self.field(Field::Signature)?)
    }

    /// The measured buffer of an `ima-buf` entry. None where it does not hash to
    /// [`Entry::file_digest`]: no digest covers the template's name, so that a
    /// signature could be shown as a buffer.
    #[must_use]
    pub fn buffer(&self) -> Option<&[u8]> {
        let buffer = self.field(Field::Buffer)?;
        let digest = self.file_digest()?;
        let hash = digest.hash()?.digest(&[buffer]);
        (hash.as_bytes() == digest.bytes).then_some(buffer)
    }
}

/// The next field of template data.
fn read_field<'a>(cursor: &mut Cursor<'a>, field: Field, is_ima: bool) -> Result<&'a [u8], Flaw> {
    if is_ima && field == Field::Digest {
        return cursor.take("d", IMA_DIGEST);
    }
    let len = cursor.size32("field length", MAX_DATA)?;
    cursor.take(field.id(), len)
}

/// Holds template data against its template: every field there, of its shape,
/// and nothing after them.
pub(super) fn validate(template: &Template, data: &[u8]) -> Result<(), Flaw> {
    let is_ima = template.is_ima();
    let mut cursor = Cursor::new(data);
    for field in template.fields().iter().copied() {
        let content = read_field(&mut cursor, field, is_ima)?;
        let start = cursor.offset() - content.len();
        let flaw = |cause| Flaw {
            field: field.id(),
            offset: start,
            cause,
        };
        let sized = |sizes: &[usize]| {
            let (len, expected) = (content.len(), sizes.first().copied().unwrap_or_default());
            (len == 0 || sizes.contains(&len))
                .then_some(())
                .ok_or_else(|| flaw(Cause::WrongLength { len, expected }))
        };
        match field {
            Field::Digest | Field::DigestNg | Field::DigestNgV2 => {
                FileDigest::parse(field, content).map_err(flaw)?;
            }
            Field::ModsigDigest if content.is_empty() => {}
            Field::ModsigDigest => {
                FileDigest::parse(Field::DigestNg, content).map_err(flaw)?;
            }
            Field::Name | Field::NameNg => {
                // `ima` is logged without the terminator.
                let (name, max) = if is_ima {
                    (Some(content), MAX_IMA_NAME)
                } else {
                    (content.strip_suffix(b"\0"), MAX_NAME)
                };
                let name = name.ok_or_else(|| flaw(Cause::NotText))?;
                if name.contains(&0) {
                    return Err(flaw(Cause::NotText));
                }
                let value = name.len();
                if value > max {
                    return Err(flaw(Cause::OverLimit { value, max }));
                }
            }
            Field::XattrNames => match content {
                [] => {}
                [names @ .., 0] if !names.contains(&0) => {}
                _ => return Err(flaw(Cause::NotText)),
            },
            Field::Uid | Field::Gid => sized(&[4, 2])?,
            Field::Mode => sized(&[2])?,
            Field::Signature
            | Field::Buffer
            | Field::Modsig
            | Field::EvmSignature
            | Field::XattrLengths
            | Field::XattrValues => {}
        }
    }
    cursor.finish("template data")
}
