//! What one set accepts and another does not any more: for the owner to see
//! before the other is signed.

use holdfast_proto::tpm::HashAlg;

use super::{Accepted, ReferenceValues};
use crate::time::UnixTime;

/// A value that falls away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The bank.
    pub bank: HashAlg,
    /// The PCR.
    pub pcr: u32,
    /// What was accepted.
    pub value: Vec<u8>,
    /// When it falls away; `None`: at once.
    pub at: Option<UnixTime>,
}

impl ReferenceValues {
    /// What this set accepts at `now` and `next` does not, or for a shorter
    /// time; by bank, PCR and value, ascending.
    #[must_use]
    pub fn lost_in(&self, next: &Self, now: UnixTime) -> Vec<Loss> {
        let mut losses = Vec::new();
        let (ours, _) = self.at(now);
        for bank in ours.banks() {
            for (pcr, values) in ours.pcrs(bank) {
                for value in values {
                    let (had, has) = (self.until(bank, pcr, value), next.until(bank, pcr, value));
                    if has < had {
                        losses.push(Loss {
                            bank,
                            pcr,
                            value: value.clone(),
                            at: match has {
                                Until::End(end) if now < end => Some(end),
                                _ => None,
                            },
                        });
                    }
                }
            }
        }
        losses
    }

    fn until(&self, bank: HashAlg, pcr: u32, value: &Vec<u8>) -> Until {
        let has = |accepted: Option<&Accepted>| accepted.is_some_and(|it| it.contains(value));
        if has(self.accepted(bank, pcr)) {
            return Until::Always;
        }
        let windows = self.windows.iter().rev();
        windows
            .filter(|(_, banks)| has(banks.get(&bank).and_then(|pcrs| pcrs.get(&pcr))))
            .map(|(end, _)| Until::End(*end))
            .next()
            .unwrap_or(Until::Never)
    }
}

/// For how long a value is accepted; longer is greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Until {
    Never,
    End(UnixTime),
    Always,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference_values::Change;

    #[test]
    fn each_value_that_goes_is_told_and_when() {
        let now = UnixTime::from_seconds(1_000);
        let end = UnixTime::from_seconds(2_000);
        let (a, b, c) = ("aa".repeat(32), "bb".repeat(32), "cc".repeat(32));
        let before = ReferenceValues::parse(&format!(
            r#"{{"pcrs":{{"sha256":{{"4":["{a}","{b}"],"7":["{c}"]}}}}}}"#
        ))
        .unwrap();
        let quoted = [(4, vec![0xbb; 32])].into();
        let after = |change| {
            let bank = HashAlg::Sha256;
            ReferenceValues::changed(Some(&before), bank, &quoted, change, now).unwrap()
        };
        let lost = |at| Loss {
            bank: HashAlg::Sha256,
            pcr: 4,
            value: vec![0xaa; 32],
            at,
        };
        for (change, losses) in [
            (Change::Replace, vec![lost(None)]),
            (Change::ReplaceUntil(end), vec![lost(Some(end))]),
            (Change::Add, vec![]),
            (Change::AddUntil(end), vec![]),
        ] {
            assert_eq!(before.lost_in(&after(change), now), losses, "{change:?}");
        }
        // What has ended is not lost again.
        let windowed = after(Change::ReplaceUntil(end));
        let later = end.plus(1);
        assert_eq!(windowed.lost_in(&after(Change::Replace), later), []);
        assert_eq!(windowed.lost_in(&after(Change::Replace), now), [lost(None)]);
    }
}
