//! The voice of the demonstration: steps in plain words, facts in two columns,
//! and something that moves while waiting, if a person is watching.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Tells the story on standard output.
pub(crate) struct Narrator {
    colours: bool,
    watched: bool,
    step: u32,
}

/// Moves until it is dropped.
pub(crate) struct Waiting(Option<ProgressBar>);

impl Narrator {
    pub(crate) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let colours = terminal && std::env::var_os("NO_COLOR").is_none();
        Self {
            colours,
            watched: std::io::stderr().is_terminal(),
            step: 0,
        }
    }

    /// Begins a step.
    pub(crate) fn step(&mut self, title: &str) {
        self.step += 1;
        println!("\n{}", self.paint("1", &format!("{}. {title}", self.step)));
    }

    /// A sentence.
    pub(crate) fn say(&self, text: &str) {
        println!("   {text}");
    }

    /// A command that a reader could type.
    pub(crate) fn command(&self, line: &str) {
        println!("   {}", self.paint("2", &format!("$ {line}")));
    }

    /// What a program printed.
    pub(crate) fn quote(&self, text: &str) {
        for line in text.lines() {
            println!("   {} {line}", self.paint("2", "│"));
        }
    }

    /// A fact with its name.
    pub(crate) fn fact(&self, name: &str, value: impl std::fmt::Display) {
        println!("     {name:<12} {value}");
    }

    /// Something that went as it must.
    pub(crate) fn good(&self, text: &str) {
        println!("   {} {text}", self.paint("32", "✔"));
    }

    /// A refusal that had to come.
    pub(crate) fn refused(&self, text: &str) {
        println!("   {} {text}", self.paint("31", "✘"));
    }

    /// Shows that something is going on.
    pub(crate) fn waiting(&self, text: &str) -> Waiting {
        if !self.watched {
            return Waiting(None);
        }
        let style = ProgressStyle::with_template("   {spinner} {msg} {elapsed}");
        let bar = ProgressBar::new_spinner();
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_message(text.to_owned());
        bar.enable_steady_tick(Duration::from_millis(80));
        Waiting(Some(bar))
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
