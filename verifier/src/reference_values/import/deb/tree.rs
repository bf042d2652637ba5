//! The files of a package: its data member, a tar archive.

use std::{
    collections::HashMap,
    io::{self, Read},
};

use holdfast_proto::tpm::HashAlg;
use ring::digest::{Context, SHA256};
use tar::EntryType;

use super::{DebError, MAX_FILES, unpack::Unpacked};
use crate::reference_values::allow_list::{AllowListBuilder, MAX_PATH_BYTES};

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

/// Directories that are links into /usr on a merged system (usrmerge).
const MERGED: [&[u8]; 7] = [
    b"/bin/",
    b"/lib/",
    b"/lib32/",
    b"/lib64/",
    b"/libo32/",
    b"/libx32/",
    b"/sbin/",
];

/// Adds all regular files and hard links, and says how many there were.
pub(super) fn read<R: Read>(
    tar: &mut Unpacked<R>,
    list: &mut AllowListBuilder,
) -> Result<usize, DebError> {
    let mut files = HashMap::<Vec<u8>, [u8; 32]>::new();
    let walked = walk(tar, |path, content| {
        if files.len() >= MAX_FILES {
            return Err(DebError::TooManyFiles);
        }
        let digest = match content {
            Content::File(file) => sha256(file)?,
            Content::Link(target) => *files
                .get(&target)
                .ok_or_else(|| DebError::Dangling(shown(&path)))?,
        };
        let added = [Some(path.clone()), merged(&path)]
            .iter()
            .flatten()
            .try_for_each(|path| list.add(path, HashAlg::Sha256, &digest));
        added.map_err(|source| DebError::List {
            path: shown(&path),
            source,
        })?;
        match files.insert(path.clone(), digest) {
            Some(_) => Err(DebError::Twice(shown(&path))),
            None => Ok(()),
        }
    });
    tar.told(walked)?;
    Ok(files.len())
}

/// What is at a path.
pub(super) enum Content<'a> {
    File(&'a mut dyn Read),
    /// The path of another file.
    Link(Vec<u8>),
}

/// Goes through a tar archive of those kinds that dpkg unpacks: ustar, and the
/// long names of GNU. The entries come raw, so that nothing is allocated by a
/// size that an entry claims.
pub(super) fn walk(
    tar: &mut dyn Read,
    mut each: impl FnMut(Vec<u8>, Content<'_>) -> Result<(), DebError>,
) -> Result<(), DebError> {
    let mut archive = tar::Archive::new(tar);
    let (mut long_name, mut long_link) = (None, None);
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        match entry.header().entry_type() {
            EntryType::GNULongName => {
                long_name = Some(long(&mut entry)?);
                continue;
            }
            EntryType::GNULongLink => {
                long_link = Some(long(&mut entry)?);
                continue;
            }
            EntryType::Regular | EntryType::Continuous => {
                let name = long_name.take();
                let name = name.unwrap_or_else(|| entry.path_bytes().into_owned());
                each(absolute(&name), Content::File(&mut entry))?;
            }
            EntryType::Link => {
                let name = long_name.take();
                let name = name.unwrap_or_else(|| entry.path_bytes().into_owned());
                let target = long_link
                    .take()
                    .or_else(|| entry.link_name_bytes().map(|link| link.into_owned()))
                    .unwrap_or_default();
                each(absolute(&name), Content::Link(absolute(&target)))?;
            }
            EntryType::Symlink
            | EntryType::Directory
            | EntryType::Char
            | EntryType::Block
            | EntryType::Fifo => {}
            other => return Err(DebError::EntryType(char::from(other.as_byte()))),
        }
        (long_name, long_link) = (None, None);
    }
    Ok(())
}

/// The name that a GNU long-name entry holds, up to its zero.
fn long(entry: &mut (impl Read + ?Sized)) -> Result<Vec<u8>, DebError> {
    // The leading ./ and the zero.
    let limit = u64::try_from(MAX_PATH_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(3);
    let mut name = Vec::new();
    let read = entry.take(limit.saturating_add(1)).read_to_end(&mut name)?;
    let read = u64::try_from(read).unwrap_or(u64::MAX);
    if read > limit {
        return Err(DebError::LongName(read));
    }
    name.truncate(
        name.iter()
            .position(|byte| *byte == 0)
            .unwrap_or(name.len()),
    );
    Ok(name)
}

/// `./usr/bin/x` as the kernel names it.
fn absolute(name: &[u8]) -> Vec<u8> {
    let name = name.strip_prefix(b".").unwrap_or(name);
    let name = name.strip_prefix(b"/").unwrap_or(name);
    [b"/", name].concat()
}

fn merged(path: &[u8]) -> Option<Vec<u8>> {
    MERGED
        .iter()
        .any(|directory| path.starts_with(directory))
        .then(|| [b"/usr", path].concat())
}

fn sha256(file: &mut dyn Read) -> Result<[u8; 32], io::Error> {
    let mut context = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        context.update(chunk.get(..read).unwrap_or_default());
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(digest)
}

/// A path for people: cut and inert.
fn shown(path: &[u8]) -> String {
    crate::reference_values::shown(&String::from_utf8_lossy(path))
}
