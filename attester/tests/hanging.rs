//! A TPM that does not answer, asked again and again: in a process of its own,
//! because what hangs is counted for the whole of it.
#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use holdfast_attester::tpm::{TctiName, Tpm, TpmError};

#[test]
fn openings_that_hang_are_few_and_end_when_the_tpm_comes_back() {
    let (commands, control) = support::listen_pair();
    let port = commands.local_addr().unwrap().port();
    let stop = Arc::new(AtomicBool::new(false));
    let silent: Vec<_> = [commands, control]
        .into_iter()
        .map(|listener| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                listener.set_nonblocking(true).unwrap();
                let mut held = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    held.extend(listener.accept());
                    std::thread::sleep(Duration::from_millis(5));
                }
            })
        })
        .collect();
    let tcti = TctiName::Swtpm {
        host: "127.0.0.1".into(),
        port,
    };
    let open = {
        let tcti = tcti.clone();
        move || Tpm::open_beside(&tcti, Default::default()).map(drop)
    };
    let hanging: Vec<_> = (0..3).map(|_| std::thread::spawn(open.clone())).collect();
    for opening in hanging {
        let outcome = opening.join().unwrap();
        assert!(
            matches!(outcome, Err(TpmError::NoAnswer { .. })),
            "{outcome:?}"
        );
    }
    let began = Instant::now();
    let outcome = open();
    assert!(
        matches!(outcome, Err(TpmError::NoAnswer { .. })),
        "{outcome:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(5), "no fourth thread");
    // The TPM goes away, and with it what hung.
    stop.store(true, Ordering::Relaxed);
    for listener in silent {
        listener.join().unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while matches!(open(), Err(TpmError::NoAnswer { .. })) {
        assert!(Instant::now() < deadline, "what hung is not forgotten");
        std::thread::sleep(Duration::from_millis(50));
    }
}
