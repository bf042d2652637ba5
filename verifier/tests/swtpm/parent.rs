//! What the proof of an EK's template rests on: a TPM makes and loads nothing
//! under a key that it has by its public area alone.

use std::fs;

use holdfast_proto::tpm::{Public, templates::EkTemplate};

use crate::live::{Tpm, as_ek, create_ek};

/// The TPM's own EK of H-2, under the area of L-2 and under its own.
#[test]
fn adv_a18_nothing_is_made_under_an_ek_that_is_loaded_by_its_public_area_alone() {
    let tpm = Tpm::start();
    let genuine = create_ek(&tpm, EkTemplate::H2);
    let as_l2 = Public {
        unique: genuine.unique.clone(),
        ..EkTemplate::L2.public()
    };
    // Under the real one both go well, and so does this test's way to say it.
    let create =
        |parent: &str| format!("tpm2_create -C {parent}.ctx -G hmac -u made.pub -r made.priv");
    let load =
        |parent: &str| format!("tpm2_load -C {parent}.ctx -u made.pub -r made.priv -c made.ctx");
    let under = |template, command: &str| {
        let outcome = as_ek(&tpm, template, command);
        tpm.run("tpm2_flushcontext -t").unwrap();
        outcome
    };
    under(EkTemplate::H2, &create("ek")).unwrap();
    under(EkTemplate::H2, &load("ek")).unwrap();
    for (template, area) in [(EkTemplate::L2, as_l2), (EkTemplate::H2, genuine)] {
        fs::write(tpm.path("shown.pub"), area.encode_tpm2b()).unwrap();
        tpm.run("tpm2_loadexternal -C e -u shown.pub -c shown.ctx")
            .unwrap();
        tpm.run("tpm2_flushcontext -t").unwrap();
        for command in [load("shown"), create("shown")] {
            let refusal = under(template, &command).unwrap_err();
            // TPM_RC_AUTH_UNAVAILABLE
            assert!(refusal.contains("0x12F"), "{refusal}");
        }
    }
}
