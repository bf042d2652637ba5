//! GUIDs and strings of firmware. Everything here came from a device: it is
//! shown with control and invisible characters escaped (A27).

use std::fmt::{self, Write as _};

/// `EFI_GUID` in its mixed-endian memory form. Displays as it is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// From the fields as they are written: `data1-data2-data3-data4`, the last
    /// being both of its dashed halves.
    #[must_use]
    pub const fn new(data1: u32, data2: u16, data3: u16, data4: u64) -> Self {
        let [a, b, c, d] = data1.to_le_bytes();
        let [e, f] = data2.to_le_bytes();
        let [g, h] = data3.to_le_bytes();
        let [i, j, k, l, m, n, o, p] = data4.to_be_bytes();
        Self([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    }

    /// `EFI_GLOBAL_VARIABLE`: SecureBoot, PK, KEK, Boot####
    pub const GLOBAL_VARIABLE: Self = Self::new(0x8be4_df61, 0x93ca, 0x11d2, 0xaa0d_00e0_9803_2b8c);
    /// `EFI_IMAGE_SECURITY_DATABASE_GUID`: db, dbx
    pub const SECURITY_DATABASE: Self =
        Self::new(0xd719_b2cb, 0x3d3a, 0x4596, 0xa3bc_dad0_0e67_656f);
    /// `SHIM_LOCK_GUID`: MokList, SbatLevel
    pub const SHIM_LOCK: Self = Self::new(0x605d_ab50, 0xe046, 0x4300, 0xabb6_3dd8_10dd_8b23);
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g, h, i, rest @ ..] = self.0;
        let [j, k, node @ ..] = rest;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{j:02x}{k:02x}-{}",
            u32::from_le_bytes([a, b, c, d]),
            u16::from_le_bytes([e, g]),
            u16::from_le_bytes([h, i]),
            hex::encode(node)
        )
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// UTF-16LE code units of firmware, without the terminator. Not necessarily
/// well-formed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Utf16<'a>(&'a [u8]);

impl<'a> Utf16<'a> {
    /// `units` exactly; none where there is half a unit.
    pub(super) fn exact(units: &'a [u8]) -> Option<Self> {
        units.len().is_multiple_of(2).then_some(Self(units))
    }

    /// Up to the terminator, which must end `bytes`; none where it is missing
    /// or comes earlier.
    pub(super) fn terminated(bytes: &'a [u8]) -> Option<Self> {
        let (units, end) = bytes.split_last_chunk::<2>()?;
        let text = Self::exact(units)?;
        (*end == [0, 0] && !text.units().any(|unit| unit == 0)).then_some(text)
    }

    /// Up to the first terminator, or all.
    pub(in crate::boot_log) fn until_nul(bytes: &'a [u8]) -> Self {
        let len = bytes
            .chunks_exact(2)
            .take_while(|unit| *unit != [0, 0])
            .count();
        let (units, _) = bytes.split_at_checked(len * 2).unwrap_or((bytes, &[]));
        Self(units)
    }

    fn units(self) -> impl Iterator<Item = u16> {
        self.0
            .chunks_exact(2)
            .filter_map(|unit| unit.first_chunk::<2>())
            .map(|unit| u16::from_le_bytes(*unit))
    }

    /// Its characters; a lone surrogate reads as U+FFFD.
    pub fn chars(self) -> impl Iterator<Item = char> {
        char::decode_utf16(self.units()).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// Whether it is exactly `text`.
    #[must_use]
    pub fn is(self, text: &str) -> bool {
        self.chars().eq(text.chars())
    }

    /// Whether it reads as text that was meant as UTF-16: ASCII bytes read as
    /// UTF-16 are far from any script that firmware speaks.
    pub(super) fn is_wide_text(self) -> bool {
        self.units().next().is_some_and(|first| first < 0x0100)
    }

    /// The bytes that it was read from.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Display for Utf16<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chars().try_for_each(|char| write_inert(f, char))
    }
}

impl fmt::Debug for Utf16<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Bytes that should be UTF-8 text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Any bytes, to be shown as the texts of a log are.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// As UTF-8, if it is.
    #[must_use]
    pub fn as_str(self) -> Option<&'a str> {
        std::str::from_utf8(self.0).ok()
    }

    /// The bytes that it was read from.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.utf8_chunks().try_for_each(|chunk| {
            chunk
                .valid()
                .chars()
                .try_for_each(|char| write_inert(f, char))?;
            chunk
                .invalid()
                .iter()
                .try_for_each(|byte| write!(f, "\\x{byte:02x}"))
        })
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A text of firmware that may be of either encoding.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label<'a> {
    /// UTF-16LE
    Wide(Utf16<'a>),
    /// ASCII or UTF-8
    Narrow(Text<'a>),
}

impl<'a> Label<'a> {
    /// `bytes` up to the terminator, of the encoding that they look like.
    pub(in crate::boot_log) fn of(bytes: &'a [u8]) -> Self {
        let wide = Utf16::until_nul(bytes);
        let looks_wide = matches!(bytes, [0, 0, ..]) || wide.is_wide_text();
        if looks_wide && bytes.len().is_multiple_of(2) {
            return Self::Wide(wide);
        }
        let len = bytes.iter().take_while(|byte| **byte != 0).count();
        let (text, _) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
        Self::Narrow(Text::new(text))
    }

    /// Its characters; what is not text reads as U+FFFD.
    pub fn chars(self) -> impl Iterator<Item = char> {
        let (wide, narrow) = match self {
            Self::Wide(text) => (Some(text), None),
            Self::Narrow(text) => (None, Some(text)),
        };
        let narrow = narrow
            .into_iter()
            .flat_map(|text| text.as_bytes().utf8_chunks());
        let narrow = narrow.flat_map(|chunk| {
            let lost = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
            chunk.valid().chars().chain(lost)
        });
        wide.into_iter().flat_map(Utf16::chars).chain(narrow)
    }

    /// Whether it is exactly `text`.
    #[must_use]
    pub fn is(self, text: &str) -> bool {
        self.chars().eq(text.chars())
    }

    /// Whether every character can be shown as it is, and there is one.
    pub(super) fn is_printable(self) -> bool {
        self.chars().next().is_some() && self.chars().all(|char| matches!(char, ' '..='~'))
    }
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wide(text) => text.fmt(f),
            Self::Narrow(text) => text.fmt(f),
        }
    }
}

impl fmt::Debug for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// `char`, escaped where a terminal or a reader could be fooled by it.
fn write_inert(f: &mut fmt::Formatter<'_>, char: char) -> fmt::Result {
    let fools = char.is_control()
        || matches!(char,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    if fools {
        write!(f, "{}", char.escape_unicode())
    } else {
        f.write_char(char)
    }
}
