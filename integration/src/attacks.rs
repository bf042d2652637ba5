//! Many attacks on one good run: each is the good message with one thing
//! changed, and in the end the good message itself must be granted, on the
//! challenge and the connection that all the attacks used.

use anyhow::{Context, Result, bail, ensure};
use holdfast_attester::enrolment::KeyChoice;
use holdfast_proto::grpc::v1;

use crate::refusal::{Record, Refusal};
use crate::scene::{granted, ready_to_enrol};
use crate::{ReadyEnrolment, Scene};

/// Attacks on step 2 of one enrolment. No refusal spends a challenge, so one
/// run of the TPM serves them all.
#[derive(Debug)]
pub struct Attacks<'a> {
    scene: &'a Scene,
    ready: ReadyEnrolment,
    good: v1::EnrollRequest,
    before: Record,
}

impl<'a> Attacks<'a> {
    /// A good enrolment with the usual keys, not yet sent.
    ///
    /// # Errors
    /// Where step 1 fails.
    pub async fn on(scene: &'a Scene) -> Result<Self> {
        Self::with_keys(scene, KeyChoice::default()).await
    }

    /// A good enrolment with keys of another kind, not yet sent.
    ///
    /// # Errors
    /// Where step 1 fails.
    pub async fn with_keys(scene: &'a Scene, choice: KeyChoice) -> Result<Self> {
        let bundle = scene.deployment.bundle()?;
        let ready = ready_to_enrol(&scene.gateway, bundle, choice).await?;
        Ok(Self {
            scene,
            good: ready.request.clone(),
            before: Record::of(&scene.deployment)?,
            ready,
        })
    }

    /// The good run changed by `change` must meet `refusal`, with `cause` in
    /// the verifier's log, and change nothing on record.
    ///
    /// # Errors
    /// Says what was not as it must be.
    pub async fn refused(
        &mut self,
        refusal: Refusal,
        cause: &str,
        change: impl FnOnce(&mut ReadyEnrolment) -> Result<()>,
    ) -> Result<()> {
        self.ready.request = self.good.clone();
        change(&mut self.ready).with_context(|| cause.to_owned())?;
        ensure!(
            self.ready.request != self.good,
            "{cause}: nothing was changed"
        );
        let attack = async {
            match self.ready.send().await {
                Err(status) => refusal.expect(&status),
                Ok(answer) => bail!("the attack was answered: {answer:?}"),
            }
        };
        self.scene.because(cause, attack).await?;
        self.before.unchanged(&self.scene.deployment)
    }

    /// The good run itself, byte for byte, is granted after all this.
    ///
    /// # Errors
    /// Says why it is not.
    pub async fn then_the_good_run(self) -> Result<()> {
        self.then_granted(|_| Ok(())).await
    }

    /// The good run with a change that the standards allow is granted.
    ///
    /// # Errors
    /// Says why it is not.
    pub async fn then_granted(
        mut self,
        change: impl FnOnce(&mut ReadyEnrolment) -> Result<()>,
    ) -> Result<()> {
        self.ready.request = self.good;
        change(&mut self.ready)?;
        granted(self.ready.send().await).context("the good run after the attacks")?;
        Ok(())
    }
}
