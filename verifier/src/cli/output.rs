//! What commands print. Text from devices is made inert: no control character
//! reaches a terminal (A27).

use std::{fmt::Write as _, io::Write as _, path::Path};

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::Failure;

/// Prints text or JSON, and a newline.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
    {
        // Whoever reads us has seen enough.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Tells on stderr that a list is not all there is, and what to do for the rest.
pub(super) fn note_cut(cut: bool, next: &str) {
    if cut {
        eprintln!("holdfast-verifier: there are more than are listed here; {next}");
    }
}

/// Prints one JSON value.
pub(super) fn print_json(value: &Value) -> Result<(), Failure> {
    print(&serde_json::to_string_pretty(value)?)
}

/// Columns of text, each as wide as its widest cell; cells are made inert.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| inert(cell)).collect())
        .collect();
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|c| c.chars().count());
        cells
            .chain(header.get(column).map(|h| h.chars().count()))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut out = String::new();
        for (cell, width) in cells.zip(&widths) {
            let _ = write!(out, "{cell:width$}  ");
        }
        text.push_str(out.trim_end());
        text.push('\n');
    };
    line(&mut header.iter().copied());
    for row in &rows {
        line(&mut row.iter().map(String::as_str));
    }
    text.pop();
    text
}

/// Text in which every control or invisible character is escaped.
pub(super) fn inert(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let plain = c == '\'' || c == '"' || c == '\\';
            let escaped = (!plain).then(|| c.escape_debug());
            escaped.into_iter().flatten().chain(plain.then_some(c))
        })
        .collect()
}

/// JSON in which every text is inert, names too.
pub(super) fn inert_json(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(inert(&text)),
        Value::Array(values) => values.into_iter().map(inert_json).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(name, value)| (inert(&name), inert_json(value)))
            .collect(),
        other => other,
    }
}

/// An error and what it came from, each said once; its lines are made inert.
pub(super) fn failure(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Many errors say what is below them.
        if text.ends_with(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    let lines: Vec<String> = text.lines().map(inert).collect();
    lines.join("\n")
}

/// RFC 3339 in UTC; "-" for 0, which stands for never.
pub(super) fn when(seconds: i64) -> String {
    if seconds == 0 {
        return "-".to_owned();
    }
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|t| t.format(&Rfc3339).ok())
        .unwrap_or_else(|| seconds.to_string())
}

/// A path as a shell takes it for one word: for commands that are printed to be
/// copied.
pub(super) fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_to_a_shell() {
        assert_eq!(shell(Path::new("/var/lib/holdfast")), "/var/lib/holdfast");
        for path in ["", "/a b", "/it's", "/$(id)", "/a\nb", "~x", "*", "/é"] {
            let said = std::process::Command::new("sh")
                .arg("-c")
                .arg(format!("printf %s {}", shell(Path::new(path))))
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(said.stdout).unwrap(), path);
        }
    }

    #[test]
    fn adv_a27_terminal_escapes_are_shown_inert() {
        assert_eq!(inert("\u{1b}[31mred\u{7}"), "\\u{1b}[31mred\\u{7}");
        assert_eq!(inert("rtl \u{202e}x"), "rtl \\u{202e}x");
        assert_eq!(inert("it's plain"), "it's plain");
        let text = table(&["A", "B"], &[vec!["x\ny".to_owned(), "z".to_owned()]]);
        assert_eq!(text, "A     B\nx\\ny  z");
    }

    #[test]
    fn times_are_rfc3339() {
        assert_eq!(when(0), "-");
        assert_eq!(when(1), "1970-01-01T00:00:01Z");
        assert_eq!(when(i64::MAX), i64::MAX.to_string());
    }

    #[test]
    fn a_failure_says_each_cause_once_and_inert() {
        let error = anyhow::anyhow!("no \u{1b}[2J\nsecond line")
            .context("reading: no \u{1b}[2J\nsecond line")
            .context("token.key");
        assert_eq!(
            failure(&error),
            "token.key: reading: no \\u{1b}[2J\nsecond line"
        );
    }
}
