//! Heartbeats beside the acts: a thread that keeps a stream open while the
//! gateway is enrolled, and asks for a full attestation where the Verifier does.
//!
//! It takes the TPM for a beat and gives it back after it, as acts do. What goes
//! wrong here is tried again; whether the gateway is trusted is the acts' to say.

use std::{io, time::Duration};

use tokio::sync::mpsc;

use super::{Equipment, Order, pace::Pace, pace::Random, planner::Trouble};
use crate::AttesterError;
use crate::heartbeat::{Begun, Ended, Heart};
use crate::state::Enrolled;

/// How long until it is seen that a gateway has enrolled.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Beats on a thread of its own, until nobody takes its orders any more.
///
/// # Errors
/// Where there is no thread or no runtime for it.
pub fn start(
    equipment: Equipment,
    longest: Duration,
    seed: u64,
    orders: mpsc::Sender<Order>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("beats".to_owned())
        .spawn(move || runtime.block_on(keep(equipment, longest, seed, orders)))
        .map(drop)
}

async fn keep(equipment: Equipment, longest: Duration, seed: u64, orders: mpsc::Sender<Order>) {
    let mut random = Random::new(seed);
    let mut pace = Pace::default();
    let mut kept: Option<(Enrolled, Heart)> = None;
    while !orders.is_closed() {
        let Ok(Some(enrolled)) = equipment.enrolled() else {
            kept = None;
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        };
        // A renewed LDevID, or a recovery: the key is of the TPM, and stays.
        let mut heart = match kept.take() {
            Some((before, heart)) if before == enrolled => heart,
            _ => Heart::new(&enrolled),
        };
        let began = stream(&equipment, &mut heart, &mut pace).await;
        kept = Some((enrolled, heart));
        let pause = match began {
            Ok(Ended::BeginAgain) => Pace::first(&mut random),
            Ok(Ended::AttestNow { code, within }) => {
                tracing::warn!(
                    event = "attest-now",
                    code,
                    within = within.as_secs(),
                    "the verifier wants a full attestation"
                );
                if orders.send(Order::Attest).await.is_err() {
                    return;
                }
                pace.pause(Trouble::Passing { retry_after: None }, longest, &mut random)
            }
            Err(error) => {
                tracing::warn!(
                    event = "beats-failed",
                    problem = %error,
                    next_step = error.next_step()
                );
                pace.pause(Trouble::of(&error), longest, &mut random)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// One stream, until there is another thing to do.
async fn stream(
    equipment: &Equipment,
    heart: &mut Heart,
    pace: &mut Pace,
) -> Result<Ended, AttesterError> {
    let tpm = equipment.open_tpm(heart.enrolled())?;
    let begun = heart.begin(&tpm).await;
    tpm.give_back();
    let mut beating = match begun? {
        Begun::Beating(beating) => beating,
        Begun::Ended(ended) => return Ok(ended),
    };
    tracing::info!(event = "beats-began", every = beating.every().as_secs());
    loop {
        let tpm = equipment.open_tpm(heart.enrolled())?;
        let ended = beating.beat(&tpm).await;
        tpm.give_back();
        if let Some(ended) = ended? {
            return Ok(ended);
        }
        *pace = Pace::default();
        tokio::time::sleep(beating.every()).await;
    }
}
