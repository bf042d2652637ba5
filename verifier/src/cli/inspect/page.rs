//! A page of text for people. Colours are for a terminal only, and not where
//! NO_COLOR is set (<https://no-color.org>); all that is written is made inert.

use std::{env, fmt::Write as _, io::IsTerminal as _};

use super::output;
use crate::inspect::Verdict;

/// Longest cell or value shown; JSON has the whole.
const MAX_SHOWN: usize = 160;

/// Grows line by line.
pub(super) struct Page {
    text: String,
    colour: bool,
}

impl Page {
    /// For standard output.
    pub(super) fn for_stdout() -> Self {
        let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self::new(std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb)
    }

    pub(super) fn new(colour: bool) -> Self {
        Self {
            text: String::new(),
            colour,
        }
    }

    /// Without the last newline.
    pub(super) fn into_text(mut self) -> String {
        self.text.truncate(self.text.trim_end().len());
        self.text
    }

    fn painted(&mut self, code: &str, text: &str) {
        let text = output::inert(text);
        if self.colour {
            let _ = writeln!(self.text, "\u{1b}[{code}m{text}\u{1b}[0m");
        } else {
            let _ = writeln!(self.text, "{text}");
        }
    }

    /// A title, with a blank line before all but the first.
    pub(super) fn heading(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.painted("1", text);
    }

    pub(super) fn line(&mut self, text: &str) {
        let _ = writeln!(self.text, "{}", output::inert(text));
    }

    pub(super) fn verdict(&mut self, verdict: Verdict, reason: Option<&str>) {
        let code = match verdict {
            Verdict::Affirming => "1;32",
            Verdict::Refused => "1;31",
            Verdict::Unverified => "1;33",
        };
        match reason {
            Some(reason) => self.painted(code, &format!("{}: {reason}", verdict.as_str())),
            None => self.painted(code, verdict.as_str()),
        }
    }

    pub(super) fn warnings(&mut self, warnings: &[String]) {
        for warning in warnings {
            self.painted("33", &format!("note: {warning}"));
        }
    }

    /// Names and values in two columns; what has no value is left out.
    pub(super) fn fields<'a>(
        &mut self,
        fields: impl IntoIterator<Item = (&'a str, Option<String>)>,
    ) {
        let fields: Vec<(&str, String)> = fields
            .into_iter()
            .filter_map(|(name, value)| Some((name, shortened(&value?))))
            .collect();
        let width = fields.iter().map(|(name, _)| name.len()).max();
        let width = width.unwrap_or(0);
        for (name, value) in &fields {
            let _ = writeln!(self.text, "  {name:width$}  {}", output::inert(value));
        }
    }

    /// A table, without anything where it has no rows.
    pub(super) fn table(&mut self, header: &[&str], rows: &[Vec<String>]) {
        if rows.is_empty() {
            return;
        }
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.iter().map(|cell| shortened(cell)).collect())
            .collect();
        self.text.push_str(&output::table(header, &rows));
        self.text.push('\n');
    }
}

fn shortened(text: &str) -> String {
    let mut chars = text.chars();
    let shown: String = chars.by_ref().take(MAX_SHOWN).collect();
    if chars.next().is_some() {
        format!("{shown}…")
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adv_a27_a_page_has_no_escapes_but_its_own_and_none_without_colour() {
        let hostile = "\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}";
        let write = |colour| {
            let mut page = Page::new(colour);
            page.heading(hostile);
            page.line(hostile);
            page.verdict(Verdict::Refused, Some(hostile));
            page.warnings(&[hostile.to_owned()]);
            page.fields([("field", Some(hostile.to_owned()))]);
            page.table(&["A"], &[vec![hostile.to_owned()]]);
            page.into_text()
        };
        let plain = write(false);
        assert!(
            plain.chars().all(|c| c == '\n' || !c.is_control()),
            "{plain:?}"
        );
        assert!(!plain.contains('\u{202e}'));
        let coloured = write(true);
        assert_eq!(coloured.matches('\u{1b}').count(), 6);
        assert!(!coloured.contains("\u{1b}]"));
    }

    #[test]
    fn long_values_are_cut_with_an_ellipsis() {
        let mut page = Page::new(false);
        page.fields([("x", Some("y".repeat(1000))), ("none", None)]);
        let text = page.into_text();
        assert!(text.ends_with('…') && text.chars().count() < 200);
        assert!(!text.contains("none"));
    }
}
