//! `UEFI_VARIABLE_DATA` (PC Client Platform Firmware Profile §10.2.6): a UEFI
//! variable, and the authority that let an image run.

use super::{DevicePath, Guid, SignatureLists, Utf16};
use crate::boot_log::{Cause, Cursor, Flaw};

/// A UEFI variable as it was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable<'a> {
    /// Vendor GUID.
    pub vendor: Guid,
    /// Name.
    pub name: Utf16<'a>,
    /// Value.
    pub data: &'a [u8],
}

impl<'a> Variable<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Flaw> {
        let mut cursor = Cursor::new(bytes);
        let variable = Self::read(&mut cursor)?;
        cursor.finish("UEFI_VARIABLE_DATA")?;
        Ok(variable)
    }

    fn read(cursor: &mut Cursor<'a>) -> Result<Self, Flaw> {
        let room = cursor.rest().len();
        let vendor = Guid(cursor.array("UEFI_VARIABLE_DATA.VariableName")?);
        // In code units, so that half of the input is the most there can be.
        let units = cursor.size64("UEFI_VARIABLE_DATA.UnicodeNameLength", room / 2)?;
        let len = cursor.size64("UEFI_VARIABLE_DATA.VariableDataLength", room)?;
        let name = Utf16::until_nul(cursor.take("UEFI_VARIABLE_DATA.UnicodeName", units * 2)?);
        let data = cursor.take("UEFI_VARIABLE_DATA.VariableData", len)?;
        Ok(Self { vendor, name, data })
    }

    /// Whether it is the variable `name` of `vendor`.
    #[must_use]
    pub fn is(&self, vendor: Guid, name: &str) -> bool {
        self.vendor == vendor && self.name.is(name)
    }

    /// For the variable SecureBoot of UEFI: whether it is on. None for other
    /// variables, and for a value that is neither 0 nor 1.
    #[must_use]
    pub fn secure_boot(&self) -> Option<bool> {
        match self.data {
            [value @ (0 | 1)] if self.is(Guid::GLOBAL_VARIABLE, "SecureBoot") => Some(*value == 1),
            _ => None,
        }
    }

    /// For Boot#### of UEFI: what it would boot. None for other variables.
    ///
    /// # Errors
    /// [`Flaw`] where the value is not a well-formed load option.
    pub fn load_option(&self) -> Option<Result<LoadOption<'a>, Flaw>> {
        let mut name = self.name.chars();
        let is_boot = self.vendor == Guid::GLOBAL_VARIABLE
            && name.by_ref().take(4).eq("Boot".chars())
            && name
                .by_ref()
                .take(4)
                .filter(char::is_ascii_hexdigit)
                .count()
                == 4
            && name.next().is_none();
        is_boot.then(|| LoadOption::parse(self.data))
    }

    /// For PK, KEK, db, dbx and shim's MokList kind: what they hold. None for
    /// other variables.
    ///
    /// # Errors
    /// [`Flaw`] where the value is not well-formed signature lists.
    pub fn signatures(&self) -> Option<Result<SignatureLists<'a>, Flaw>> {
        let holds = ["PK", "KEK"].map(|name| (Guid::GLOBAL_VARIABLE, name));
        let databases = ["db", "dbx", "dbt", "dbr"].map(|name| (Guid::SECURITY_DATABASE, name));
        let mok =
            ["MokList", "MokListX", "MokListRT", "MokListXRT"].map(|name| (Guid::SHIM_LOCK, name));
        holds
            .iter()
            .chain(&databases)
            .chain(&mok)
            .any(|(vendor, name)| self.is(*vendor, name))
            .then(|| SignatureLists::parse(self.data))
    }
}

/// `EFI_LOAD_OPTION` (UEFI Specification §3.1.3): what a Boot#### variable would
/// boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOption<'a> {
    /// Attributes; bit 0 is `LOAD_OPTION_ACTIVE`.
    pub attributes: u32,
    /// What the boot menu shows.
    pub description: Utf16<'a>,
    /// Where the loader is.
    pub device_path: DevicePath<'a>,
    /// What the loader is given.
    pub optional_data: &'a [u8],
}

impl<'a> LoadOption<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Flaw> {
        let mut cursor = Cursor::new(bytes);
        let attributes = cursor.u32("EFI_LOAD_OPTION.Attributes")?;
        let len = usize::from(cursor.u16("EFI_LOAD_OPTION.FilePathListLength")?);
        let description = Utf16::until_nul(cursor.rest());
        cursor.take(
            "EFI_LOAD_OPTION.Description",
            description.as_bytes().len() + 2,
        )?;
        let paths = cursor.take("EFI_LOAD_OPTION.FilePathList", len)?;
        Ok(Self {
            attributes,
            description,
            device_path: DevicePath::first(paths)?,
            optional_data: cursor.rest(),
        })
    }
}

/// Most bytes after the structure of an authority: shim before version 15 logs
/// six.
const MAX_STRAY: usize = 8;

/// What let an image run (`EV_EFI_VARIABLE_AUTHORITY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The variable that the entry is from: db, MokList, Shim, SbatLevel…
    pub variable: Variable<'a>,
    /// `SignatureOwner`, where the entry is an `EFI_SIGNATURE_DATA`.
    pub owner: Option<Guid>,
    /// The entry itself.
    pub entry: AuthorityEntry<'a>,
    /// Stray bytes after the variable, at most [`MAX_STRAY`].
    pub(crate) stray: usize,
}

/// The entry of a database that an image was verified by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorityEntry<'a> {
    /// A DER certificate: reads as one SEQUENCE that spans the entry.
    Certificate(&'a [u8]),
    /// SHA-256 of the image: an `EFI_SIGNATURE_DATA` of it, or, of a signature
    /// database and without an owner, the 32 bytes alone, as shim measures it.
    Hash(&'a [u8]),
    /// Anything else: shim's SBAT level, policy and flags among it.
    Other(&'a [u8]),
}

impl<'a> Authority<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Flaw> {
        let mut cursor = Cursor::new(bytes);
        let variable = Variable::read(&mut cursor)?;
        let stray = cursor.rest().len();
        if stray > MAX_STRAY {
            return Err(cursor.flaw("UEFI_VARIABLE_DATA", Cause::TrailingBytes(stray)));
        }
        let (owner, entry) = match variable.data.split_first_chunk::<16>() {
            // shim measures its built-in certificate without an owner.
            _ if is_certificate(variable.data) => {
                (None, AuthorityEntry::Certificate(variable.data))
            }
            Some((owner, entry)) if is_certificate(entry) => {
                (Some(Guid(*owner)), AuthorityEntry::Certificate(entry))
            }
            Some((owner, hash)) if hash.len() == IMAGE_HASH => {
                (Some(Guid(*owner)), AuthorityEntry::Hash(hash))
            }
            _ if variable.data.len() == IMAGE_HASH && is_database(&variable.name) => {
                (None, AuthorityEntry::Hash(variable.data))
            }
            _ => (None, AuthorityEntry::Other(variable.data)),
        };
        Ok(Self {
            variable,
            owner,
            entry,
            stray,
        })
    }
}

/// Length of an image's SHA-256.
const IMAGE_HASH: usize = 32;

/// Whether entries of the variable let images run, by the names that shim and
/// firmware measure. Of other variables (SbatLevel) 32 bytes are 32 bytes.
fn is_database(name: &Utf16<'_>) -> bool {
    ["db", "MokList", "vendor_db"]
        .iter()
        .any(|database| name.is(database))
}

/// Whether `der` is one SEQUENCE with a two-octet length, as every certificate
/// of a usual size is. No more is asked of it here.
fn is_certificate(der: &[u8]) -> bool {
    match der {
        [0x30, 0x82, high, low, content @ ..] => {
            content.len() == usize::from(u16::from_be_bytes([*high, *low]))
        }
        _ => false,
    }
}
