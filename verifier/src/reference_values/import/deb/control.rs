//! What a package says that it is: three fields of its control file (deb-control(5)).

use std::io::Read;

use super::{
    DebError,
    tree::{Content, walk},
    unpack::Unpacked,
};

/// Longest control file, in bytes. Those with the longest dependencies have
/// some 30 KiB.
const MAX_CONTROL: u64 = 1024 * 1024;
/// Longest value shown, in bytes.
const MAX_VALUE: usize = 200;

/// A package's name for itself, for people: inert.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// `Package`.
    pub package: String,
    /// `Version`.
    pub version: String,
    /// `Architecture`.
    pub architecture: String,
}

/// Reads `./control` of the control member.
pub(super) fn read<R: Read>(tar: &mut Unpacked<R>) -> Result<Control, DebError> {
    let mut text = None;
    let walked = walk(tar, |path, content| {
        if path != b"/control" {
            return Ok(());
        }
        let Content::File(file) = content else {
            return Err(DebError::Control("a link"));
        };
        let mut bytes = Vec::new();
        file.take(MAX_CONTROL).read_to_end(&mut bytes)?;
        text = Some(String::from_utf8(bytes).map_err(|_| DebError::Control("no UTF-8"))?);
        Ok(())
    });
    tar.told(walked)?;
    let text = text.ok_or(DebError::Missing("control file"))?;
    let field = |name: &str, missing| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
            .filter(|value| {
                !value.is_empty()
                    && value.len() <= MAX_VALUE
                    && value.bytes().all(|byte| byte.is_ascii_graphic())
            })
            .map(str::to_owned)
            .ok_or(DebError::Control(missing))
    };
    Ok(Control {
        package: field("Package", "no Package")?,
        version: field("Version", "no Version")?,
        architecture: field("Architecture", "no Architecture")?,
    })
}
