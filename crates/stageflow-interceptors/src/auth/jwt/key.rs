//! A key, and the one algorithm it is for.

use std::{fmt, sync::Arc};

use jsonwebtoken::{DecodingKey, DecodingKeyKind};
use stageflow_core::text::OneLine;

use super::{JwtAlgorithm, JwtConfigError, algorithm::Family, jwk, pem, verify};

/// What a token is verified with: a key, bound to one algorithm, with or without an id.
///
/// The algorithm is a property of the key and never taken from a token, so that no token can choose how it is verified (RFC 8725,
/// section 3.1). `Debug` shows algorithm and id alone.
///
/// ```
/// use stageflow_interceptors::{JwtAlgorithm, JwtKey};
///
/// let key = JwtKey::secret(JwtAlgorithm::Hs256, [7; 32])?.kid("2026-11");
/// assert_eq!(format!("{key:?}"), r#"JwtKey { algorithm: Hs256, kid: Some("2026-11") }"#);
/// // Short secrets can be guessed, with a token at hand, by anybody who has the time.
/// assert!(JwtKey::secret(JwtAlgorithm::Hs256, "secret").is_err());
/// # Ok::<(), stageflow_interceptors::JwtConfigError>(())
/// ```
#[derive(Clone)]
pub struct JwtKey {
    algorithm: JwtAlgorithm,
    kid: Option<Arc<str>>,
    key: Arc<DecodingKey>,
}

impl JwtKey {
    /// A secret that is shared with the issuer: of at least as many bytes as the hash of the algorithm, that is 32, 48 or 64.
    ///
    /// # Errors
    ///
    /// [`JwtConfigError`] if the secret is too short, or the algorithm has public keys.
    pub fn secret(algorithm: JwtAlgorithm, secret: impl AsRef<[u8]>) -> Result<Self, JwtConfigError> {
        let secret = secret.as_ref();
        if algorithm.family() != Family::Secret {
            return Err(JwtConfigError::of(format!("{algorithm} has public keys, and no secret")));
        }
        let least = algorithm.least_secret();
        if secret.len() < least {
            return Err(JwtConfigError::of(format!("a secret for {algorithm} has {least} bytes or more")));
        }
        Ok(Self::new(algorithm, DecodingKey::from_secret(secret)))
    }

    /// A public key as PEM: `PUBLIC KEY`, and for RSA `RSA PUBLIC KEY` as well. RSA keys have 2048 bits or more.
    ///
    /// # Errors
    ///
    /// [`JwtConfigError`] if it is no key for this algorithm.
    pub fn pem(algorithm: JwtAlgorithm, pem: &str) -> Result<Self, JwtConfigError> {
        Self::checked(algorithm, pem::public_key(algorithm.family(), pem)?)
    }

    /// A JSON Web Key (RFC 7517), with the algorithm and the id it names. Without `alg`, an RSA key is for RS256, and the others are for
    /// the one algorithm that there is for their curve.
    ///
    /// # Errors
    ///
    /// [`JwtConfigError`] if it is no key that can verify tokens, a private key, or a secret without `alg`.
    pub fn jwk(json: &str) -> Result<Self, JwtConfigError> {
        jwk::one(json)
    }

    /// The id of the key, as tokens name it.
    #[must_use]
    pub fn kid(mut self, kid: impl Into<Arc<str>>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// The algorithm it is for.
    pub fn algorithm(&self) -> JwtAlgorithm {
        self.algorithm
    }

    /// The id it has.
    pub fn id(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    fn new(algorithm: JwtAlgorithm, key: DecodingKey) -> Self {
        Self { algorithm, kid: None, key: Arc::new(key) }
    }

    /// A public key, if it looks like one for the algorithm.
    pub(super) fn checked(algorithm: JwtAlgorithm, key: DecodingKey) -> Result<Self, JwtConfigError> {
        let bad = |what: &str| Err(JwtConfigError::of(format!("a key for {algorithm} has {what}")));
        match (algorithm.family(), key.kind()) {
            (Family::P256, DecodingKeyKind::SecretOrDer(point)) if point.len() == 65 && point[0] == 4 => {}
            (Family::P256, _) => return bad("the curve P-256 and two whole coordinates"),
            (Family::P384, DecodingKeyKind::SecretOrDer(point)) if point.len() == 97 && point[0] == 4 => {}
            (Family::P384, _) => return bad("the curve P-384 and two whole coordinates"),
            (Family::Ed25519, DecodingKeyKind::SecretOrDer(point)) if point.len() == 32 => {}
            (Family::Ed25519, _) => return bad("the curve Ed25519 and 32 bytes"),
            (Family::Rsa, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                let (n, e) = (without_zeros(n), without_zeros(e));
                let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
                if !(2048..=8192).contains(&bits) {
                    return bad("a modulus of 2048 to 8192 bits");
                }
                if e.is_empty() || e.len() > 4 {
                    return bad("an exponent of one to four bytes");
                }
                return Ok(Self::new(algorithm, DecodingKey::from_rsa_raw_components(n, e)));
            }
            (Family::Rsa, _) => return bad("a modulus and an exponent"),
            (Family::Secret, _) => return bad("a secret, which is no public key"),
        }
        Ok(Self::new(algorithm, key))
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        verify::verifies(self.algorithm, self.key.kind(), message, signature)
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

impl fmt::Debug for JwtKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtKey").field("algorithm", &self.algorithm).field("kid", &self.kid).finish()
    }
}

/// Which key it is, in errors.
impl fmt::Display for JwtKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kid {
            Some(kid) => write!(f, "`{}` for {}", OneLine(kid), self.algorithm),
            None => write!(f, "a key without id for {}", self.algorithm),
        }
    }
}
