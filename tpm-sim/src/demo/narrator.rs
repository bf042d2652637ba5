//! The voice of the demonstration: steps in plain words, facts in two columns,
//! and something that moves while waiting, if a person is watching.

use std::fmt::Display;
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";

/// Tells the story on standard output.
pub(crate) struct Narrator {
    colours: bool,
    watched: bool,
    step: u32,
    /// The demonstration's directory: absolute, and as the user named it.
    directory: (String, String),
}

/// Moves until it is dropped.
pub(crate) struct Waiting(Option<ProgressBar>);

impl Narrator {
    /// A narrator of what happens in `absolute`, which the user calls `named`.
    pub(crate) fn new(absolute: &Path, named: &Path) -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self {
            colours: terminal && std::env::var_os("NO_COLOR").is_none(),
            watched: std::io::stderr().is_terminal(),
            step: 0,
            directory: (absolute.display().to_string(), named.display().to_string()),
        }
    }

    /// Begins a step.
    pub(crate) fn step(&mut self, title: &str) {
        self.step += 1;
        tell!("\n{}", self.paint(BOLD, &format!("{}. {title}", self.step)));
    }

    /// A sentence.
    pub(crate) fn say(&self, text: impl Display) {
        tell!("   {}", self.short(text));
    }

    /// A command that a reader could type.
    pub(crate) fn command(&self, line: &str) {
        tell!("   {}", self.paint(DIM, &format!("$ {}", self.short(line))));
    }

    /// What a program printed.
    pub(crate) fn quote(&self, text: &str) {
        for line in self.short(text).lines() {
            tell!("   {} {line}", self.paint(DIM, "│"));
        }
    }

    /// A fact with its name.
    pub(crate) fn fact(&self, name: &str, value: impl Display) {
        tell!("     {name:<12} {}", self.short(value));
    }

    /// Something that went as it must.
    pub(crate) fn good(&self, text: impl Display) {
        tell!("   {} {}", self.paint(GREEN, "✔"), self.short(text));
    }

    /// A refusal that had to come.
    pub(crate) fn refused(&self, text: impl Display) {
        tell!("   {} {}", self.paint(RED, "✘"), self.short(text));
    }

    /// Shows that something is going on.
    pub(crate) fn waiting(&self, text: &str) -> Waiting {
        if !self.watched {
            return Waiting(None);
        }
        let style = ProgressStyle::with_template("   {spinner} {wide_msg} {elapsed}");
        let bar = ProgressBar::new_spinner();
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_message(self.short(text));
        bar.enable_steady_tick(Duration::from_millis(80));
        Waiting(Some(bar))
    }

    /// Paths as the user would write them.
    fn short(&self, text: impl Display) -> String {
        let (absolute, named) = &self.directory;
        text.to_string().replace(absolute, named)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
