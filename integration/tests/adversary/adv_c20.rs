//! C18 and C20 (GHSA-9r4w-jg96-92mv; the disclosure on event types): no label
//! and no lying size of the log's makes anything believed.

use anyhow::{Result, ensure};
use holdfast_integration::forged_log::{assert_not_believed, forged, scene, verdict};
use holdfast_tpm_sim::boot_log::event_type;

/// Every event of PCR 7 in turn under another label: as long as one does not
/// prove what it says, nobody is let in.
#[tokio::test]
async fn adv_c20_no_label_hides_an_event_of_pcr_7() -> Result<()> {
    let scene = scene()?;
    let labels = [
        event_type::EV_EFI_ACTION,
        event_type::EV_IPL,
        event_type::EV_SEPARATOR,
    ];
    let places: Vec<usize> = {
        let log = holdfast_tpm_sim::BootImage::golden().boot();
        let of_7 =
            log.events.iter().enumerate().filter(|(_, event)| {
                event.pcr == 7 && event.event_type != event_type::EV_SEPARATOR
            });
        of_7.map(|(at, _)| at).collect()
    };
    ensure!(places.len() == 8, "{places:?}");
    for (turn, at) in places.into_iter().enumerate() {
        let label = labels[turn % labels.len()];
        let log = forged(|log| log.events[at].event_type = label);
        let detail = format!("event {} of PCR 7", at + 1);
        assert_not_believed(&scene, &detail, log, "secure-boot-unproven", &detail).await?;
    }
    let good = verdict(&scene, forged(|_| ())).await?;
    ensure!(good.affirming, "{:#?}", good.reasons);
    Ok(())
}

/// A header size in dbx that is not what was measured: the attacker's bytes are
/// not an entry that counts.
#[tokio::test]
async fn adv_c18_a_lying_signature_header_size() -> Result<()> {
    let scene = scene()?;
    // GUID, two lengths, "dbx" in UTF-16; then type, list size, header size.
    let header_size = 16 + 8 + 8 + 6 + 16 + 4;
    for lie in [48u32, 16, 1 << 20] {
        let log = forged(|log| {
            let dbx = log.events.iter_mut().find(|event| {
                event.pcr == 7 && event.data.get(32..38) == Some(b"d\0b\0x\0".as_slice())
            });
            let data = &mut dbx.expect("the golden log has one").data;
            data[header_size..header_size + 4].copy_from_slice(&lie.to_le_bytes());
        });
        let what = format!("a header of {lie} bytes");
        assert_not_believed(&scene, &what, log.clone(), "secure-boot-unproven", "PCR 7").await?;
        assert_not_believed(&scene, &what, log, "dbx-too-old", "dbx has 0 entries").await?;
    }
    let good = verdict(&scene, forged(|_| ())).await?;
    ensure!(good.affirming, "{:#?}", good.reasons);
    Ok(())
}
