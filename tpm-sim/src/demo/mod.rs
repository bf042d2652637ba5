//! `holdfast-sim demo`: the whole story, played by the real programs.

mod artefacts;
mod machine;
mod narrator;
mod owner;
mod program;
mod stage;
mod story;

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use self::narrator::Narrator;
use self::program::Program;
use self::stage::Stage;
use self::story::Story;
use crate::Failure;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where the results are left; what an earlier demonstration left is cleared
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Where holdfast-verifier and holdfast-attester are [default: beside holdfast-sim]
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let began = Instant::now();
    let bin_dir = match &arguments.bin_dir {
        Some(dir) => dir.clone(),
        None => own_directory()?,
    };
    let stage = Stage::set(&arguments.out)?;
    let verifier = Program::find(&bin_dir, "holdfast-verifier", stage.logs())?;
    let attester = Program::find(&bin_dir, "holdfast-attester", stage.logs())?;
    let narrator = Narrator::new(stage.out(), &arguments.out);
    let mut story = Story::new(narrator, stage, verifier, attester);
    story.play()?;
    story.end(began.elapsed());
    Ok(())
}

fn own_directory() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .ok()
        .and_then(|path| path.parent().map(PathBuf::from))
        .ok_or_else(|| Failure::BadInput("name the programs' directory with --bin-dir".to_owned()))
}
