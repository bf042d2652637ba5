//! Debian packages (deb(5)): SHA-256 of every regular file that one installs,
//! by its absolute path. Streaming: memory is bounded by the number of files
//! and the decompressors' windows, time by [`MAX_UNPACKED_BYTES`].
//!
//! What dpkg's maintainer scripts write is in no package, and conffiles are as
//! shipped.

mod ar;
mod control;
mod error;
mod tree;
mod unpack;

use std::io::Read;

use self::{
    ar::{Archive, Member},
    unpack::Unpacked,
};
pub use self::{control::Control, error::DebError};
use crate::reference_values::allow_list::AllowListBuilder;

/// Most bytes that the members of one package unpack to. Debug symbols of a
/// kernel take 6 GiB.
pub const MAX_UNPACKED_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// Most files in one package. The largest of Debian 13 has some 100,000.
pub const MAX_FILES: usize = 250_000;

/// A package that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// What it says that it is.
    pub control: Control,
    /// Number of regular files and hard links in it.
    pub files: usize,
}

/// Adds each regular file of a package to a list. A file below `/bin`, `/lib`,
/// `/lib32`, `/lib64`, `/libo32`, `/libx32` or `/sbin` is added below `/usr` too, where it is on a
/// system with merged /usr, and by which path IMA logs it.
///
/// # Errors
/// [`DebError`]. What was before it has been added.
pub fn read(package: impl Read, list: &mut AllowListBuilder) -> Result<Package, DebError> {
    read_within(package, MAX_UNPACKED_BYTES, list)
}

/// As [`read`], with another limit than [`MAX_UNPACKED_BYTES`] for each member.
///
/// # Errors
/// [`DebError`]. What was before it has been added.
pub fn read_within(
    package: impl Read,
    unpacked: u64,
    list: &mut AllowListBuilder,
) -> Result<Package, DebError> {
    let mut archive = Archive::new(package)?;
    let (mut version, _) = part(&mut archive, "debian-binary").map_err(|_| DebError::NotDeb)?;
    let mut number = [0; 2];
    version
        .read_exact(&mut number)
        .map_err(|_| DebError::NotDeb)?;
    if number != *b"2." {
        return Err(DebError::NotDeb);
    }
    version.skip()?;

    let (member, form) = part(&mut archive, "control.tar")?;
    let mut tar = Unpacked::new(member, &form, unpacked)?;
    let control = control::read(&mut tar)?;
    tar.finish()?;

    let (member, form) = part(&mut archive, "data.tar")?;
    let mut tar = Unpacked::new(member, &form, unpacked)?;
    let files = tree::read(&mut tar, list)?;
    tar.finish()?;
    Ok(Package { control, files })
}

/// The next member, which must be `name` and how it is compressed, such as
/// `.xz`. Those that start with an underscore are passed over (deb(5)).
fn part<'a, R: Read>(
    archive: &'a mut Archive<R>,
    name: &'static str,
) -> Result<(Member<'a, R>, String), DebError> {
    let header = loop {
        let header = archive.header()?.ok_or(DebError::Missing(name))?;
        if !header.name.starts_with('_') {
            break header;
        }
        archive.member(&header).skip()?;
    };
    let form = header
        .name
        .strip_prefix(name)
        .ok_or(DebError::Missing(name))?
        .to_owned();
    Ok((archive.member(&header), form))
}
