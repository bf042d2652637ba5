//! What the PCRs mean is what a replay against a verified quote found, and
//! nothing else.
use std::{collections::BTreeMap, sync::Arc};

use holdfast_verifier::verification::{ReadBootLog, ReplayedBootLog};

fn forge(log: Arc<ReadBootLog>) -> ReplayedBootLog {
    ReplayedBootLog {
        log,
        relations: BTreeMap::new(),
    }
}

fn main() {}
