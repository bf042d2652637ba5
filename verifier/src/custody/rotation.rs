//! From one generation of a key to the next, with an overlap in which both
//! count.

use std::sync::Arc;

use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::{
    Cabinet, CabinetLock, Custodian, CustodyError, KeyEntry, KeyKind, KeyPlace, Keyring, MadeKey,
    NewFile, Step,
    cabinet::{
        file_name, heartbeat_entry, issuing_entry, public_entry, result_entry, server_entry,
        server_id, stem, token_entry,
    },
    custodian::key_text,
    root::read_key,
};
use crate::{
    config::{Home, home::file},
    freshness::ChallengeSealer,
    heartbeat::MasterKey,
    identity::{
        Authority, CaCertificate, CaSigner, FileSigner, IdentityError, ResultKey, SecretKey,
        ServerName, certification_request,
    },
    time::UnixTime,
};

const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// A change of the keys under way; holds the lock.
pub struct Rotation<'a> {
    cabinet: Cabinet<'a>,
    home: &'a Home,
    lock: CabinetLock,
    ring: Keyring,
    now: UnixTime,
    rng: SystemRandom,
    reached: Box<dyn FnMut(Step) -> Result<(), CustodyError> + 'a>,
}

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// Of which kind.
    pub kind: KeyKind,
    /// The key in use now.
    pub current: KeyEntry,
    /// The one of before, with its end.
    pub previous: Option<KeyEntry>,
}

impl<'a> Rotation<'a> {
    /// Takes the lock and reads the keyring. What an interrupted change left
    /// is removed.
    ///
    /// # Errors
    /// [`CustodyError::Busy`]; [`CustodyError`] names the file.
    pub fn begin(home: &'a Home, now: UnixTime) -> Result<Self, CustodyError> {
        Self::begin_telling(home, now, |_| Ok(()))
    }

    /// The same; `reached` is told of each step, and can end the change there
    /// as a crash would.
    ///
    /// # Errors
    /// As [`Rotation::begin`].
    pub fn begin_telling(
        home: &'a Home,
        now: UnixTime,
        reached: impl FnMut(Step) -> Result<(), CustodyError> + 'a,
    ) -> Result<Self, CustodyError> {
        home.inspect_secrets()?;
        let cabinet = Cabinet::new(home);
        let lock = cabinet.lock()?;
        let ring = cabinet.read()?;
        cabinet.clear(&ring, &lock)?;
        Ok(Self {
            cabinet,
            home,
            lock,
            ring,
            now,
            rng: SystemRandom::new(),
            reached: Box::new(reached),
        })
    }

    /// The keyring as it is now.
    #[must_use]
    pub const fn ring(&self) -> &Keyring {
        &self.ring
    }

    /// A new token key: challenges are sealed under it, those of before are
    /// answered for `overlap` seconds more.
    ///
    /// # Errors
    /// [`CustodyError`].
    pub fn token(&mut self, overlap: u32) -> Result<Rotated, CustodyError> {
        let key = self.draw()?;
        let id = hex::encode(ChallengeSealer::key_id(&key));
        let name = file_name(stem(KeyKind::Token), &id, ".key");
        let entry = token_entry(&key, &name, self.now.seconds());
        let file = secret(name, hex_line(&key));
        self.switch(KeyKind::Token, entry, vec![file], overlap)
    }

    /// A new master of heartbeat keys, or the first: new epochs begin under it,
    /// those of before count for `overlap` seconds more. A gateway gets its new
    /// key with its next stream.
    ///
    /// # Errors
    /// [`CustodyError`].
    pub fn heartbeat(&mut self, overlap: u32) -> Result<Rotated, CustodyError> {
        let key = self.draw()?;
        let name = file_name(stem(KeyKind::Heartbeat), &MasterKey::id(&key), ".key");
        let entry = heartbeat_entry(&key, &name, self.now.seconds());
        let file = secret(name, hex_line(&key));
        self.switch(KeyKind::Heartbeat, entry, vec![file], overlap)
    }

    fn draw(&self) -> Result<Zeroizing<[u8; 32]>, CustodyError> {
        let mut key = Zeroizing::new([0_u8; 32]);
        self.rng
            .fill(key.as_mut_slice())
            .map_err(|ring::error::Unspecified| CustodyError::NoRandomness)?;
        Ok(key)
    }

    /// A new result key. The private half of the one of before is destroyed;
    /// its public half stays published for `overlap` seconds.
    ///
    /// # Errors
    /// [`CustodyError`].
    pub fn result(&mut self, overlap: u32) -> Result<Rotated, CustodyError> {
        let key = self.generate()?;
        let public = ResultKey::from_pkcs8(key.expose_der()).map_err(made("result key"))?;
        let name = file_name(stem(KeyKind::Result), &hex::encode(public.id()), ".key.pem");
        let entry = result_entry(&public.public_spki(), &name, self.now.seconds());
        let content = Zeroizing::new(key.expose_pem().as_bytes().to_vec());
        let before = self.ring.current(KeyKind::Result).clone();
        self.ring
            .promote(KeyKind::Result, entry, self.now.plus(overlap.into()))?;
        self.ring.forget_private(&before.id);
        self.commit(vec![secret(name, content)])?;
        // A key that `init` named is no stray: it goes by name.
        if before.key == KeyPlace::File(file::RESULT_KEY.to_owned()) {
            self.home.remove(file::RESULT_KEY)?;
        }
        Ok(self.rotated(KeyKind::Result))
    }

    /// A new online policy key, or the first. The one of before approves for
    /// `overlap` seconds more, for classes that the root has not delegated to
    /// the new one yet. What either approved stays approved.
    ///
    /// # Errors
    /// [`CustodyError`].
    pub fn seal(&mut self, custodian: &Custodian, overlap: u32) -> Result<Rotated, CustodyError> {
        self.adopt_seal(custodian)?;
        let MadeKey {
            signer,
            place,
            files,
        } = custodian.make(KeyKind::Seal, &self.rng)?;
        proven(signer.as_ref())?;
        let entry = public_entry(signer.public(), place, self.now.seconds());
        self.switch(KeyKind::Seal, entry, files, overlap)
    }

    /// A new key for secrets at rest, or the first. Always in a file, encrypted
    /// as the issuing key's is. The one of before is needed until all secrets
    /// are under the new one, whatever the time: it is retired by hand.
    ///
    /// # Errors
    /// [`CustodyError`].
    pub fn secrets(&mut self, custodian: &Custodian) -> Result<Rotated, CustodyError> {
        let key = self.generate()?;
        let signer = FileSigner::from_pkcs8(key.expose_der()).map_err(made("new key"))?;
        let text = key_text(key.expose_der(), custodian.ca(), &self.rng)?;
        let MadeKey {
            signer,
            place,
            files,
        } = signing_file(KeyKind::Secrets, Arc::new(signer), text);
        let entry = public_entry(signer.public(), place, self.now.seconds());
        self.switch(KeyKind::Secrets, entry, files, 0)
    }

    /// Takes the policy key over that older versions kept in a plain file of its
    /// own: from now on it is in the keyring, in a file that is encrypted as the
    /// issuing key's is. Does nothing where there is no such file.
    ///
    /// # Errors
    /// [`CustodyError`]; the old file is removed last, so that the key is never
    /// lost.
    pub fn adopt_seal(&mut self, custodian: &Custodian) -> Result<(), CustodyError> {
        if self.home.path(file::SEAL_KEY).symlink_metadata().is_err() {
            return Ok(());
        }
        let der = read_key(self.home, file::SEAL_KEY, None)?;
        let signer = FileSigner::from_pkcs8(&der).map_err(made(file::SEAL_KEY))?;
        let place = |name| KeyPlace::File(name);
        let id = public_entry(signer.public(), place(String::new()), 0).id;
        let known = self.ring.of(KeyKind::Seal);
        if !known.iter().any(|entry| entry.id == id) {
            if !known.is_empty() {
                return Err(CustodyError::Place(format!(
                    "its seal key is not the one in {}, which an older version left: move that \
                     file away",
                    self.home.path(file::SEAL_KEY).display()
                )));
            }
            let name = file_name(stem(KeyKind::Seal), &id, ".key.pem");
            let entry = public_entry(signer.public(), place(name.clone()), 0);
            let text = key_text(&der, custodian.ca(), &self.rng)?;
            self.ring.promote(KeyKind::Seal, entry, self.now)?;
            self.commit(vec![secret(name, text)])?;
        }
        Ok(self.home.remove_if_there(file::SEAL_KEY)?)
    }

    /// A new key and certificate for the TLS server.
    ///
    /// # Errors
    /// [`CustodyError`].
    pub fn server(
        &mut self,
        authority: &Authority,
        names: &[ServerName],
    ) -> Result<Rotated, CustodyError> {
        let issued = authority
            .issue_server(names, self.now, &self.rng)
            .map_err(made("server certificate"))?;
        let id = server_id(&issued.certificate);
        let stem = stem(KeyKind::Server);
        let (certificate, key) = (
            file_name(stem, &id, ".pem"),
            file_name(stem, &id, ".key.pem"),
        );
        let entry = server_entry(&issued.certificate, &certificate, &key, self.now.seconds());
        let content = Zeroizing::new(issued.key.expose_pem().as_bytes().to_vec());
        let files = vec![
            secret(key, content),
            public(certificate, issued.certificate_pem().into_bytes()),
        ];
        // Nothing was signed with it that would have to be verified later:
        // connections go on with the session keys that they have.
        self.switch(KeyKind::Server, entry, files, 0)
    }

    /// A new issuing CA, the root at hand.
    ///
    /// # Errors
    /// [`CustodyError`].
    pub fn issuing(
        &mut self,
        custodian: &Custodian,
        authority: &Authority,
        overlap: u32,
    ) -> Result<Rotated, CustodyError> {
        let made_key = self.make_issuing(custodian)?;
        let root = CaCertificate::parse(authority.certificate()).map_err(made("root CA"))?;
        let organization = root.organization().unwrap_or("Holdfast").to_owned();
        let der = authority
            .certify_ca(
                made_key.signer.public(),
                &organization,
                "Issuing CA",
                self.now,
                &self.rng,
            )
            .map_err(made("issuing CA"))?;
        self.take_up(made_key, &der, overlap)
    }

    /// First of three steps with an offline root: makes the key, and the
    /// request that goes to the root.
    ///
    /// # Errors
    /// [`CustodyError`].
    pub fn request(&mut self, custodian: &Custodian) -> Result<String, CustodyError> {
        let MadeKey {
            signer,
            place,
            files,
        } = self.make_issuing(custodian)?;
        let request = certification_request(signer.as_ref()).map_err(made("issuing key"))?;
        let before = self.ring.pending().cloned();
        self.ring.set_pending(Some(KeyEntry {
            id: hex::encode(signer.public().key_identifier()),
            since: self.now.seconds(),
            until: None,
            void_since: None,
            certificate: None,
            public: Some(hex::encode(signer.public().spki())),
            key: place,
        }));
        self.commit(files)?;
        // One that nobody will use any more.
        if let Some(before) = before {
            custodian.destroy(&before.key)?;
        }
        Ok(request)
    }

    /// Third step: takes the certificate that the root signed.
    ///
    /// # Errors
    /// [`CustodyError::NothingPending`], [`CustodyError::NotThePending`], and
    /// what [`CaCertificate::below`] refuses.
    pub fn install(
        &mut self,
        custodian: &Custodian,
        der: &[u8],
        overlap: u32,
    ) -> Result<Rotated, CustodyError> {
        let pending = self
            .ring
            .pending()
            .cloned()
            .ok_or(CustodyError::NothingPending)?;
        let ca = CaCertificate::parse(der).map_err(made("the certificate"))?;
        let found = ca.public().map(|public| hex::encode(public.spki()));
        if found != pending.public {
            return Err(CustodyError::NotThePending {
                found: hex::encode(ca.key_identifier()),
                pending: pending.id,
            });
        }
        let made_key = MadeKey {
            signer: custodian.signer(&pending)?,
            place: pending.key,
            files: Vec::new(),
        };
        self.ring.set_pending(None);
        self.take_up(made_key, der, overlap)
    }

    /// Takes out a generation that has ended, and destroys its private key
    /// where that can be done from here.
    ///
    /// # Errors
    /// [`CustodyError::Change`].
    pub fn retire(
        &mut self,
        custodian: &Custodian,
        kind: KeyKind,
        id: &str,
        early: bool,
    ) -> Result<KeyEntry, CustodyError> {
        let entry = self.ring.retire(kind, id, early, self.now)?;
        self.commit(Vec::new())?;
        // Of a file this is done by `commit`, but for those that `init` named.
        custodian.destroy(&entry.key)?;
        if let Some(certificate) = &entry.certificate {
            self.home.remove_if_there(certificate)?;
        }
        Ok(entry)
    }

    fn make_issuing(&self, custodian: &Custodian) -> Result<MadeKey, CustodyError> {
        custodian.make(KeyKind::Issuing, &self.rng)
    }

    /// Checks the certificate and the key against each other and the root, and
    /// switches to them.
    fn take_up(
        &mut self,
        made_key: MadeKey,
        der: &[u8],
        overlap: u32,
    ) -> Result<Rotated, CustodyError> {
        let ca = CaCertificate::parse(der).map_err(made("issuing CA"))?;
        let root = self.cabinet.ca_certificate(file::ROOT_CA)?;
        ca.below(&root, self.now).map_err(made("issuing CA"))?;
        proven(made_key.signer.as_ref())?;
        if ca.public() != Some(made_key.signer.public()) {
            return Err(made("issuing CA")(IdentityError::KeyMismatch));
        }
        let id = hex::encode(made_key.signer.public().key_identifier());
        let name = file_name(stem(KeyKind::Issuing), &id, ".pem");
        let entry = issuing_entry(&ca, &name, made_key.place, self.now.seconds());
        let pem = crate::identity::pem::encode("CERTIFICATE", der);
        let mut files = made_key.files;
        files.push(public(name, pem.into_bytes()));
        self.switch(KeyKind::Issuing, entry, files, overlap)
    }

    fn switch(
        &mut self,
        kind: KeyKind,
        entry: KeyEntry,
        files: Vec<NewFile>,
        overlap: u32,
    ) -> Result<Rotated, CustodyError> {
        self.ring
            .promote(kind, entry, self.now.plus(overlap.into()))?;
        self.commit(files)?;
        Ok(self.rotated(kind))
    }

    fn commit(&mut self, files: Vec<NewFile>) -> Result<(), CustodyError> {
        self.cabinet
            .change(&self.ring, &files, &self.lock, self.now, &mut self.reached)
    }

    fn rotated(&self, kind: KeyKind) -> Rotated {
        Rotated {
            kind,
            current: self.ring.current(kind).clone(),
            previous: self.ring.of(kind).get(1).cloned(),
        }
    }

    fn generate(&self) -> Result<SecretKey, CustodyError> {
        SecretKey::generate(&self.rng).map_err(made("new key"))
    }
}

/// A key that signs nothing is not switched to.
fn proven(signer: &dyn CaSigner) -> Result<(), CustodyError> {
    const PROBE: &[u8] = b"holdfast: is this key the one that it says?";
    let signature = signer
        .sign(PROBE)
        .map_err(|e| made("issuing key")(e.into()))?;
    signer
        .public()
        .verify(PROBE, &signature)
        .map_err(made("issuing key"))
}

fn made(what: &'static str) -> impl Fn(IdentityError) -> CustodyError {
    move |source| CustodyError::Identity {
        what: what.to_owned(),
        source,
    }
}

/// Text of a symmetric key's file.
fn hex_line(key: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    let text = Zeroizing::new(hex::encode(key));
    Zeroizing::new(format!("{}\n", *text).into_bytes())
}

fn secret(name: String, content: Zeroizing<Vec<u8>>) -> NewFile {
    NewFile {
        name,
        content,
        mode: SECRET,
    }
}

fn public(name: String, content: Vec<u8>) -> NewFile {
    NewFile {
        name,
        content: Zeroizing::new(content),
        mode: PUBLIC,
    }
}

/// A new issuing or policy key as a file.
pub(super) fn signing_file(
    kind: KeyKind,
    signer: Arc<dyn CaSigner>,
    text: Zeroizing<Vec<u8>>,
) -> MadeKey {
    let id = match kind {
        KeyKind::Seal | KeyKind::Secrets => {
            public_entry(signer.public(), KeyPlace::Destroyed, 0).id
        }
        _ => hex::encode(signer.public().key_identifier()),
    };
    let name = file_name(stem(kind), &id, ".key.pem");
    MadeKey {
        signer,
        place: KeyPlace::File(name.clone()),
        files: vec![secret(name, text)],
    }
}
