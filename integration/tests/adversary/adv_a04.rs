//! A04: credential activation answered with a wrong, empty, short or reused
//! secret. The answer says no more than "not an answer to this challenge".

use anyhow::Result;
use holdfast_integration::{Refusal, Scene};

#[tokio::test]
async fn adv_a04_wrong_secret() -> Result<()> {
    let scene = Scene::new()?;
    let mut attack = scene.ready_to_enrol().await?;
    attack.request.activated_secret[31] ^= 1;
    scene.assert_refused(attack, Refusal::NOT_AUTHENTIC).await
}

#[tokio::test]
async fn adv_a04_secret_of_another_length() -> Result<()> {
    let scene = Scene::new()?;
    for change in [
        |secret: &mut Vec<u8>| secret.clear(),
        |secret: &mut Vec<u8>| secret.truncate(31),
        |secret: &mut Vec<u8>| secret.push(0),
    ] {
        let mut attack = scene.ready_to_enrol().await?;
        change(&mut attack.request.activated_secret);
        scene.assert_refused(attack, Refusal::NOT_AUTHENTIC).await?;
    }
    Ok(())
}

/// The secret of an earlier challenge for the very same keys.
#[tokio::test]
async fn adv_a04_secret_of_an_earlier_challenge() -> Result<()> {
    let scene = Scene::new()?;
    let earlier = scene.ready_to_enrol().await?;
    let mut attack = scene.ready_to_enrol().await?;
    attack.request.activated_secret = earlier.request.activated_secret;
    scene.assert_refused(attack, Refusal::NOT_AUTHENTIC).await
}
