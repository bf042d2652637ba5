//! IMA templates: which fields an entry has (Linux, `ima_template.c` and
//! Documentation/security/IMA-templates.rst).

use std::fmt;

/// Most fields of a template (`TEMPLATE_NUM_FIELDS_MAX`).
const MAX_FIELDS: usize = 15;

/// A field of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// `d`: digest of the file, 20 bytes (SHA-1, or MD5 and zeros)
    Digest,
    /// `d-ng`: digest with its algorithm
    DigestNg,
    /// `d-ngv2`: digest with its kind (ima, verity) and algorithm
    DigestNgV2,
    /// `n`: name of the event, at most 255 bytes
    Name,
    /// `n-ng`: name of the event
    NameNg,
    /// `sig`: signature of the file, from `security.ima`
    Signature,
    /// `buf`: the measured buffer
    Buffer,
    /// `d-modsig`: digest that the appended signature is over
    ModsigDigest,
    /// `modsig`: appended signature
    Modsig,
    /// `evmsig`: portable EVM signature
    EvmSignature,
    /// `xattrnames`
    XattrNames,
    /// `xattrlengths`
    XattrLengths,
    /// `xattrvalues`
    XattrValues,
    /// `iuid`
    Uid,
    /// `igid`
    Gid,
    /// `imode`
    Mode,
}

impl Field {
    const ALL: [(&'static str, Self); 16] = [
        ("d", Self::Digest),
        ("d-ng", Self::DigestNg),
        ("d-ngv2", Self::DigestNgV2),
        ("n", Self::Name),
        ("n-ng", Self::NameNg),
        ("sig", Self::Signature),
        ("buf", Self::Buffer),
        ("d-modsig", Self::ModsigDigest),
        ("modsig", Self::Modsig),
        ("evmsig", Self::EvmSignature),
        ("xattrnames", Self::XattrNames),
        ("xattrlengths", Self::XattrLengths),
        ("xattrvalues", Self::XattrValues),
        ("iuid", Self::Uid),
        ("igid", Self::Gid),
        ("imode", Self::Mode),
    ];

    /// The kernel's identifier.
    #[must_use]
    pub fn id(self) -> &'static str {
        Self::ALL
            .iter()
            .find_map(|(id, field)| (*field == self).then_some(*id))
            .unwrap_or_default()
    }

    fn from_id(id: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find_map(|(known, field)| (*known == id).then_some(*field))
    }

    /// Whether it is the name of the event, which in ASCII may hold spaces.
    pub(super) const fn is_name(self) -> bool {
        matches!(self, Self::Name | Self::NameNg)
    }
}

/// The template of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Template {
    name: Option<&'static str>,
    fields: [Option<Field>; MAX_FIELDS],
}

impl Template {
    /// The kernel's named templates.
    const NAMED: [(&'static str, &'static [Field]); 8] = [
        ("ima-ng", &[Field::DigestNg, Field::NameNg]),
        (
            "ima-sig",
            &[Field::DigestNg, Field::NameNg, Field::Signature],
        ),
        ("ima-buf", &[Field::DigestNg, Field::NameNg, Field::Buffer]),
        ("ima", &[Field::Digest, Field::Name]),
        ("ima-ngv2", &[Field::DigestNgV2, Field::NameNg]),
        (
            "ima-sigv2",
            &[Field::DigestNgV2, Field::NameNg, Field::Signature],
        ),
        (
            "ima-modsig",
            &[
                Field::DigestNg,
                Field::NameNg,
                Field::Signature,
                Field::ModsigDigest,
                Field::Modsig,
            ],
        ),
        (
            "evm-sig",
            &[
                Field::DigestNg,
                Field::NameNg,
                Field::EvmSignature,
                Field::XattrNames,
                Field::XattrLengths,
                Field::XattrValues,
                Field::Uid,
                Field::Gid,
                Field::Mode,
            ],
        ),
    ];

    /// By the name in a log: one of the kernel's templates, or a format of the
    /// owner's own (`ima_template_fmt=`), which the log names in full.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let mut fields = [None; MAX_FIELDS];
        let mut slots = fields.iter_mut();
        let named = Self::NAMED.iter().find(|(known, _)| *known == name);
        if let Some((known, known_fields)) = named {
            for (slot, field) in slots.zip(*known_fields) {
                *slot = Some(*field);
            }
            return Some(Self {
                name: Some(*known),
                fields,
            });
        }
        for id in name.split('|') {
            *slots.next()? = Some(Field::from_id(id)?);
        }
        Some(Self { name: None, fields })
    }

    /// Its fields, in order.
    pub fn fields(&self) -> impl DoubleEndedIterator<Item = Field> + use<> {
        self.fields.into_iter().flatten()
    }

    /// Whether it is `ima`, the template of old, which is laid out and hashed
    /// in a way of its own.
    pub(super) fn is_ima(&self) -> bool {
        self.name == Some("ima")
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.name {
            return f.write_str(name);
        }
        for (n, field) in self.fields().enumerate() {
            let bar = if n == 0 { "" } else { "|" };
            write!(f, "{bar}{}", field.id())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
