//! IMA templates: which fields an entry has (Linux, `ima_template.c` and
//! Documentation/security/IMA-templates.rst).

use std::fmt;

/// Most fields of a template (`TEMPLATE_NUM_FIELDS_MAX`).
const MAX_FIELDS: usize = 15;

/// The template of old.
const IMA: &str = "ima";

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
pub struct Template(Layout);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `ima`, the template of old, which is laid out and hashed in a way of its
    /// own.
    Ima,
    Named(&'static Named),
    /// A format of the owner's own: its first `len` fields count.
    Own {
        len: u8,
        fields: [Field; MAX_FIELDS],
    },
}

#[derive(PartialEq, Eq)]
struct Named {
    name: &'static str,
    fields: &'static [Field],
}

/// The kernel's named templates but `ima`, the usual ones first.
static NAMED: [Named; 7] = [
    Named {
        name: "ima-ng",
        fields: &[Field::DigestNg, Field::NameNg],
    },
    Named {
        name: "ima-sig",
        fields: &[Field::DigestNg, Field::NameNg, Field::Signature],
    },
    Named {
        name: "ima-buf",
        fields: &[Field::DigestNg, Field::NameNg, Field::Buffer],
    },
    Named {
        name: "ima-ngv2",
        fields: &[Field::DigestNgV2, Field::NameNg],
    },
    Named {
        name: "ima-sigv2",
        fields: &[Field::DigestNgV2, Field::NameNg, Field::Signature],
    },
    Named {
        name: "ima-modsig",
        fields: &[
            Field::DigestNg,
            Field::NameNg,
            Field::Signature,
            Field::ModsigDigest,
            Field::Modsig,
        ],
    },
    Named {
        name: "evm-sig",
        fields: &[
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
    },
];

impl Template {
    /// By the name in a log: one of the kernel's templates, or a format of the
    /// owner's own (`ima_template_fmt=`), which the log names in full.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if name == IMA {
            return Some(Self(Layout::Ima));
        }
        if let Some(named) = NAMED.iter().find(|named| named.name == name) {
            return Some(Self(Layout::Named(named)));
        }
        let mut fields = [Field::Digest; MAX_FIELDS];
        let mut len = 0;
        let mut slots = fields.iter_mut();
        for id in name.split('|') {
            *slots.next()? = Field::from_id(id)?;
            len += 1;
        }
        Some(Self(Layout::Own { len, fields }))
    }

    /// Its fields, in order.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        match &self.0 {
            Layout::Ima => &[Field::Digest, Field::Name],
            Layout::Named(named) => named.fields,
            Layout::Own { len, fields } => fields.get(..usize::from(*len)).unwrap_or(fields),
        }
    }

    /// Whether it is `ima`.
    pub(super) const fn is_ima(&self) -> bool {
        matches!(self.0, Layout::Ima)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Layout::Ima => return f.write_str(IMA),
            Layout::Named(named) => return f.write_str(named.name),
            Layout::Own { .. } => {}
        }
        for (n, field) in self.fields().iter().enumerate() {
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
