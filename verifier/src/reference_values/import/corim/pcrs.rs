//! Which of a CoRIM's digests are values of PCRs: integrity registers by number,
//! and digests whose measurement's key is a number, 0 to 23.

use std::collections::BTreeMap;

use holdfast_proto::tpm::HashAlg;

use super::{
    CorimError,
    comid::Comid,
    digest::Digest,
    measurement::{Key, Measurement},
};
use crate::reference_values::{
    Accepted, Banks, MAX_PCR, MAX_VALUES_PER_PCR, ReferenceValues, ReferenceValuesError, json,
};

/// What a CoRIM says of the PCRs of one environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Class, instance and group, for people: inert.
    pub name: String,
    banks: Banks,
}

/// Something that is not used, for people: inert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotUsed {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

impl NotUsed {
    pub(super) fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            why: why.into(),
        }
    }
}

impl Environment {
    /// PCR values by bank and index.
    pub fn pcrs(&self) -> impl Iterator<Item = (HashAlg, u32, &Accepted)> {
        self.banks.iter().flat_map(|(bank, pcrs)| {
            pcrs.iter()
                .map(move |(index, values)| (*bank, *index, values))
        })
    }

    /// The reference values that say the same.
    ///
    /// # Errors
    /// The rules of [`ReferenceValues::parse`].
    pub fn reference_values(&self) -> Result<ReferenceValues, ReferenceValuesError> {
        ReferenceValues::parse(&json::canonical(&self.banks, &BTreeMap::new()))
    }
}

/// Adds what a CoMID says of PCRs, and what of it is not used.
pub(super) fn collect(
    comid: Comid,
    environments: &mut Vec<Environment>,
    not_used: &mut Vec<NotUsed>,
) -> Result<(), CorimError> {
    for other in comid.other {
        not_used.push(NotUsed::new(other, "only reference triples are used"));
    }
    for reference in comid.references {
        let mut banks = Banks::new();
        for measurement in reference.measurements {
            of_measurement(measurement, &reference.environment, &mut banks, not_used);
        }
        if banks.is_empty() {
            continue;
        }
        let known = environments
            .iter_mut()
            .find(|environment| environment.name == reference.environment);
        match known {
            Some(environment) => unite(&mut environment.banks, banks),
            None => environments.push(Environment {
                name: reference.environment,
                banks,
            }),
        }
    }
    let most = environments
        .iter()
        .flat_map(Environment::pcrs)
        .find(|(.., values)| values.len() > MAX_VALUES_PER_PCR);
    match most {
        Some((bank, index, values)) => Err(CorimError::Value {
            at: format!("CoMID {}", comid.id),
            why: format!(
                "{} values for {} PCR {index}: at most {MAX_VALUES_PER_PCR} are taken",
                values.len(),
                bank.name()
            ),
        }),
        None => Ok(()),
    }
}

fn of_measurement(
    measurement: Measurement,
    environment: &str,
    banks: &mut Banks,
    not_used: &mut Vec<NotUsed>,
) {
    let mut skip = |what: &str, why: String| {
        not_used.push(NotUsed::new(format!("{what} of {environment}"), why));
    };
    let Measurement {
        key,
        digests,
        registers,
        conditions,
    } = measurement;
    if !conditions.is_empty() {
        let why = format!("it also depends on {}", conditions.join(", "));
        return skip("a measurement", why);
    }
    if digests.is_empty() && registers.is_empty() {
        return skip("a measurement", "it has no digest".to_owned());
    }
    let with_key = Some((key, digests)).filter(|(_, digests)| !digests.is_empty());
    for (key, digests) in with_key.into_iter().chain(registers) {
        let index = match &key {
            Key::Number(number) => u32::try_from(*number).ok().filter(|i| *i <= MAX_PCR),
            Key::None | Key::Other(_) => None,
        };
        let Some(index) = index else {
            let name = match key {
                Key::None => "a digest without a key".to_owned(),
                Key::Number(number) => format!("digests of {number}"),
                Key::Other(name) => format!("digests of {name}"),
            };
            skip(
                &name,
                format!("no PCR: those are numbers from 0 to {MAX_PCR}"),
            );
            continue;
        };
        for Digest { bank, alg, value } in digests {
            match bank {
                Some(bank) => {
                    let pcrs = banks.entry(bank).or_default();
                    pcrs.entry(index).or_default().insert(value);
                }
                None => skip(
                    &format!("PCR {index} in {alg}"),
                    "no bank that a TPM quotes here".to_owned(),
                ),
            }
        }
    }
}

fn unite(banks: &mut Banks, more: Banks) {
    for (bank, pcrs) in more {
        let into = banks.entry(bank).or_default();
        for (index, values) in pcrs {
            into.entry(index).or_default().extend(values);
        }
    }
}
