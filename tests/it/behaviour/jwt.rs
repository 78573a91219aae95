//! JSON Web Tokens in front of running pipelines: good ones, bad ones, and other keys (rules S-20, S-31).

mod bad;
mod fixtures;
mod good;
mod keys;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{self as signing, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair},
};
use serde_json::{Value as Json, json};
use stageflow::{
    Clock, Code, EventKind, FieldValue, Recorder, RunOutcome,
    interceptors::{
        Authenticate, Credentials, JwtAlgorithm, JwtAuthenticator, JwtAuthenticatorBuilder, JwtKey, JwtKeys,
    },
    prelude::*,
};

use super::kit::{pipeline, within};

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://login.example.com";
const SECRET: &[u8; 64] = b"sixty-four bytes are enough for every hash that is in this table";

/// A time of day that a test sets.
#[derive(Clone)]
struct Wall(Arc<AtomicU64>);

impl Wall {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(NOW)))
    }
}

impl Clock for Wall {
    fn monotonic_nanos(&self) -> u64 {
        0
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

fn public_key(algorithm: JwtAlgorithm) -> JwtKey {
    let pem = match algorithm {
        JwtAlgorithm::Hs256 | JwtAlgorithm::Hs384 | JwtAlgorithm::Hs512 => {
            return JwtKey::secret(algorithm, SECRET).expect("long enough");
        }
        JwtAlgorithm::Es256 => fixtures::P256_PUBLIC,
        JwtAlgorithm::Es384 => fixtures::P384_PUBLIC,
        JwtAlgorithm::EdDsa => fixtures::ED25519_PUBLIC,
        _ => fixtures::RSA_PUBLIC,
    };
    JwtKey::pem(algorithm, pem).expect("a key")
}

/// What only the issuer can do.
fn signature(algorithm: JwtAlgorithm, message: &[u8]) -> Vec<u8> {
    let rng = SystemRandom::new();
    let der = |text: &str| STANDARD.decode(text).expect("base64");
    let rsa = |by: &'static dyn signing::RsaEncoding| {
        static KEY: OnceLock<RsaKeyPair> = OnceLock::new();
        let key =
            KEY.get_or_init(|| RsaKeyPair::from_pkcs8(&der(fixtures::RSA_PRIVATE)).expect("an RSA key"));
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(by, &rng, message, &mut signature).expect("it signs");
        signature
    };
    let curve = |by, private| {
        let key = EcdsaKeyPair::from_pkcs8(by, &der(private), &rng).expect("a key of the curve");
        key.sign(&rng, message).expect("it signs").as_ref().to_vec()
    };
    let mac = |hash| hmac::sign(&hmac::Key::new(hash, SECRET), message).as_ref().to_vec();
    match algorithm {
        JwtAlgorithm::Hs256 => mac(hmac::HMAC_SHA256),
        JwtAlgorithm::Hs384 => mac(hmac::HMAC_SHA384),
        JwtAlgorithm::Hs512 => mac(hmac::HMAC_SHA512),
        JwtAlgorithm::Rs256 => rsa(&signing::RSA_PKCS1_SHA256),
        JwtAlgorithm::Rs384 => rsa(&signing::RSA_PKCS1_SHA384),
        JwtAlgorithm::Rs512 => rsa(&signing::RSA_PKCS1_SHA512),
        JwtAlgorithm::Ps256 => rsa(&signing::RSA_PSS_SHA256),
        JwtAlgorithm::Ps384 => rsa(&signing::RSA_PSS_SHA384),
        JwtAlgorithm::Ps512 => rsa(&signing::RSA_PSS_SHA512),
        JwtAlgorithm::Es256 => curve(&signing::ECDSA_P256_SHA256_FIXED_SIGNING, fixtures::P256_PRIVATE),
        JwtAlgorithm::Es384 => curve(&signing::ECDSA_P384_SHA384_FIXED_SIGNING, fixtures::P384_PRIVATE),
        JwtAlgorithm::EdDsa => {
            let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der(fixtures::ED25519_PRIVATE));
            key.expect("a key").sign(message).as_ref().to_vec()
        }
        other => panic!("nobody signs with {other}"),
    }
}

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token of exactly these texts.
fn signed(algorithm: JwtAlgorithm, header: &str, claims: &str) -> String {
    let message = format!("{}.{}", base64url(header), base64url(claims));
    let signature = base64url(signature(algorithm, message.as_bytes()));
    format!("{message}.{signature}")
}

/// The claims of Ada, with these in place of her own; those that are `null` are left out.
fn claims(other: Json) -> String {
    let mut claims = json!({
        "iss": ISSUER, "aud": "stageflow", "sub": "ada", "org_id": "acme", "scope": "read run",
        "exp": NOW + 300, "nbf": NOW, "iat": NOW,
    });
    let Json::Object(other) = other else { panic!("an object") };
    for (name, value) in other {
        claims[name] = value;
    }
    claims.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    claims.to_string()
}

/// A token of Ada's, with other claims.
fn token(algorithm: JwtAlgorithm, other: Json) -> String {
    signed(algorithm, &json!({"alg": algorithm.as_str(), "typ": "JWT"}).to_string(), &claims(other))
}

/// A verifier without keys, at the time of `wall`.
fn rules(wall: &Wall) -> JwtAuthenticatorBuilder {
    let builder = JwtAuthenticator::builder().issuer(ISSUER).audience("stageflow").audience("stageflow-eu");
    builder.tenant_claim("org_id").clock(wall.clone())
}

fn verifier(algorithm: JwtAlgorithm) -> JwtAuthenticator {
    rules(&Wall::new()).key(public_key(algorithm)).build().expect("a verifier")
}

/// What is seen of a run that shows a token.
#[derive(Debug)]
struct Seen {
    outcome: RunOutcome,
    code: Option<Code>,
    reached: usize,
    message: String,
    accepted: usize,
    denied: Vec<String>,
    /// Everything that is printed about it.
    text: String,
}

/// Runs a stage behind a verifier, with a token as the only thing that the caller shows.
async fn run(verifier: &JwtAuthenticator, token: &str) -> Seen {
    let reached = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&reached);
    let stage = pipeline(|p| {
        let stage = stage_fn(move |_, (): ()| {
            counter.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok(1_u32))
        });
        p.stage("only", stage).inputs(())
    });
    let recorder = Recorder::new();
    let auth = Authenticate::new(verifier.clone());
    let engine = Engine::builder().interceptor(auth).sink(recorder.clone()).build().expect("an engine");
    let done = within(engine.run(&stage, ()).extension(Credentials::bearer(token))).await;
    let (outcome, code, message, mut text) = match &done {
        Ok(done) => (done.outcome(), None, String::new(), format!("{:?} {}", done.report(), done.report())),
        Err(error) => {
            let failure = error.failure().expect("a failure");
            let text = format!("{error} {error:?} {}", error.report().expect("a report"));
            (error.outcome().expect("it was let in"), Some(failure.code()), failure.message().clone(), text)
        }
    };
    let mut seen =
        Seen { outcome, code, reached: 0, message, accepted: 0, denied: Vec::new(), text: String::new() };
    for event in recorder.events() {
        text += &format!("{event} {event:?} {}", serde_json::to_string(&event).expect("JSON"));
        let EventKind::Custom(custom) = event.kind() else { continue };
        match (custom.name(), custom.field("reason")) {
            ("auth.accepted", _) => seen.accepted += 1,
            ("auth.denied", Some(FieldValue::Text(reason))) => seen.denied.push(reason.clone()),
            _ => {}
        }
    }
    Seen { reached: reached.load(Ordering::SeqCst), text, ..seen }
}

impl Seen {
    fn is_let_through(&self) -> bool {
        (self.outcome, self.reached, self.accepted) == (RunOutcome::Completed, 1, 1) && self.denied.is_empty()
    }

    /// Nothing ran, and the audit says why, once.
    fn is_denied(&self, reason: &str) -> bool {
        (self.outcome, self.code, self.reached, self.accepted)
            == (RunOutcome::Denied, Some(stageflow::code::DENIED), 0, 0)
            && self.denied == [reason]
    }
}
