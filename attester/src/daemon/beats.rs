//! Heartbeats beside the acts: a thread that keeps a stream open while the
//! gateway is enrolled, and asks for a full attestation where the Verifier does.
//!
//! It takes the TPM for a beat and gives it back after it, as acts do. What goes
//! wrong here is tried again; whether the gateway is trusted is the acts' to say.

use std::{io, time::Duration};

use tokio::sync::{mpsc, watch};

use super::{Board, Equipment, Order, pace::Pace, pace::Random, planner::Trouble};
use crate::AttesterError;
use crate::evidence::now;
use crate::heartbeat::{Begun, Ended, Heart};
use crate::state::Enrolled;

/// How long until it is seen that a gateway has enrolled.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What heartbeats are kept with.
#[derive(Clone, Debug)]
pub(super) struct Means {
    pub(super) equipment: Equipment,
    /// The longest pause after what failed.
    pub(super) longest: Duration,
}

/// Heartbeats, on or off. They end when it is dropped.
#[derive(Debug)]
pub(super) struct Beats {
    means: watch::Sender<Option<Means>>,
    rest: Rest,
    /// The thread begins when it is first needed.
    begun: bool,
}

#[derive(Clone, Debug)]
struct Rest {
    seed: u64,
    board: Board,
    orders: mpsc::Sender<Order>,
}

impl Beats {
    /// Off.
    pub(super) fn new(seed: u64, board: Board, orders: mpsc::Sender<Order>) -> Self {
        Self {
            means: watch::Sender::new(None),
            rest: Rest {
                seed,
                board,
                orders,
            },
            begun: false,
        }
    }

    /// On, with these means; or off. A beat under way is ended first.
    ///
    /// # Errors
    /// Where there is no thread or no runtime for it: still off.
    pub(super) fn switch(&mut self, means: Option<Means>) -> io::Result<()> {
        if means.is_some() && !self.begun {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let (rest, watched) = (self.rest.clone(), self.means.subscribe());
            std::thread::Builder::new()
                .name("beats".to_owned())
                .spawn(move || runtime.block_on(keep(rest, watched)))?;
            self.begun = true;
        }
        self.means.send_replace(means);
        Ok(())
    }
}

/// How a stream came to its end, or is to.
enum Break {
    Ended(Ended),
    /// Off, or with other means.
    Switched,
}

/// Until nobody switches any more.
async fn keep(rest: Rest, mut means: watch::Receiver<Option<Means>>) {
    let Rest {
        seed,
        board,
        orders,
    } = rest;
    let mut random = Random::new(seed);
    let mut pace = Pace::default();
    let mut kept: Option<(Enrolled, Heart)> = None;
    while means.has_changed().is_ok() {
        let current = means.borrow_and_update().clone();
        let Some(Means { equipment, longest }) = current else {
            kept = None;
            board.update(|status| status.heartbeats.off());
            if means.changed().await.is_err() {
                return;
            }
            continue;
        };
        let Ok(Some(enrolled)) = equipment.enrolled() else {
            kept = None;
            board.update(|status| status.heartbeats.wait());
            if pause(&mut means, LOOK_EVERY).await.is_err() {
                return;
            }
            continue;
        };
        // A renewed LDevID, or a recovery: the key is of the TPM, and stays.
        let mut heart = match kept.take() {
            Some((before, heart)) if before == enrolled => heart,
            _ => Heart::new(&enrolled),
        };
        board.update(|status| status.heartbeats.wait());
        let ended = stream(&equipment, &mut heart, &mut pace, &board, &mut means).await;
        kept = Some((enrolled, heart));
        let for_long = match ended {
            Ok(Break::Switched) => continue,
            Ok(Break::Ended(Ended::BeginAgain)) => Pace::first(&mut random),
            Ok(Break::Ended(Ended::AttestNow { code, within })) => {
                tracing::warn!(
                    event = "attest-now",
                    code,
                    within = within.as_secs(),
                    "the verifier wants a full attestation"
                );
                board.update(|status| status.heartbeats.told(now(), &code, within));
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
                let (problem, next_step) = (error.to_string(), error.next_step());
                board.update(|status| status.heartbeats.failed(now(), problem, next_step));
                pace.pause(Trouble::of(&error), longest, &mut random)
            }
        };
        if pause(&mut means, for_long).await.is_err() {
            return;
        }
    }
}

/// Waits for so long, or until something is switched.
async fn pause(
    means: &mut watch::Receiver<Option<Means>>,
    for_long: Duration,
) -> Result<(), watch::error::RecvError> {
    tokio::select! {
        changed = means.changed() => changed,
        () = tokio::time::sleep(for_long) => Ok(()),
    }
}

/// One stream, until there is another thing to do.
async fn stream(
    equipment: &Equipment,
    heart: &mut Heart,
    pace: &mut Pace,
    board: &Board,
    means: &mut watch::Receiver<Option<Means>>,
) -> Result<Break, AttesterError> {
    let tpm = equipment.open_tpm(heart.enrolled())?;
    let begun = heart.begin(&tpm).await;
    tpm.give_back();
    let mut beating = match begun? {
        Begun::Beating(beating) => beating,
        Begun::Ended(ended) => return Ok(Break::Ended(ended)),
    };
    tracing::info!(event = "beats-began", every = beating.every().as_secs());
    board.update(|status| status.heartbeats.began());
    loop {
        let tpm = equipment.open_tpm(heart.enrolled())?;
        let ended = beating.beat(&tpm).await;
        tpm.give_back();
        if let Some(ended) = ended? {
            return Ok(Break::Ended(ended));
        }
        *pace = Pace::default();
        board.update(|status| status.heartbeats.accepted(now(), beating.within()));
        tokio::select! {
            _ = means.changed() => return Ok(Break::Switched),
            () = tokio::time::sleep(beating.every()) => {}
        }
    }
}
