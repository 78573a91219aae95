//! JSON Web Tokens (RFC 7519) as credentials: every token is refused for which not everything is proven.
//!
//! Keys are read by `jsonwebtoken`, signatures verified by *ring*; docs/decisions/0011-jwt-without-a-provider.md says why both.

mod algorithm;
mod build;
mod error;
mod jwk;
mod key;
mod keys;
mod pem;
mod rules;
#[cfg(test)]
mod tests;
mod token;
mod verify;

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use stageflow_core::Clock;

pub use self::{
    algorithm::JwtAlgorithm, build::JwtAuthenticatorBuilder, error::JwtConfigError, key::JwtKey,
    keys::JwtKeys,
};
use self::{keys::NoKey, rules::Rules, token::Token};
use super::{AuthError, AuthReason, Authenticator, Credentials, Principal};

/// Knows the users whom an issuer has signed a token for: an [`Authenticator`] for [`Credentials::bearer`]. Clones share the keys.
///
/// # Guarantees
///
/// - A token is believed if its signature was made with a key at hand, and it is by the issuer, for the audience, not expired, not from the
///   future (`nbf`, `iat`), and names a user. There is no default for issuer, audience and keys, and no way to leave one out.
/// - The algorithm is that of the key. A token that names another one is refused, `none` included; so are tokens with `crit`, with a name
///   twice, and with an unknown `kid`. Without a `kid` there must be exactly one key. Keys and addresses of keys in a header (`jwk`, `jku`,
///   `x5c`, `x5u`) count for nothing.
/// - The principal expires when its token does: at `exp`, and the leeway later at most.
/// - Refusals say which rule was broken, in words of their own: nothing of the token is in them.
///
/// # Limits
///
/// It fetches nothing: give it new keys by [`set_keys`](Self::set_keys) when the issuer has some. It does not know which tokens were
/// revoked. A run that was let in stays so, until its token expires, when its key is taken away. It is the same
/// [realm](Authenticator::realm) as others for its issuer and audiences.
///
/// ```
/// use stageflow_interceptors::{Credentials, JwtAlgorithm, JwtAuthenticator, JwtKey};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let verifier = JwtAuthenticator::builder()
///     .issuer("https://login.example.com")
///     .audience("stageflow")
///     .key(JwtKey::secret(JwtAlgorithm::Hs256, [7; 32])?)
///     .tenant_claim("org_id")
///     .build()?;
/// let error = verifier.verify("eyJhbGciOiJub25lIn0.e30.").unwrap_err();
/// assert_eq!(error.to_string(), "the credentials are not valid: the token is signed with another algorithm than its key is for");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct JwtAuthenticator(Arc<Shared>);

struct Shared {
    rules: Rules,
    realm: String,
    keys: RwLock<JwtKeys>,
    clock: Arc<dyn Clock>,
}

impl JwtAuthenticator {
    /// One that is to be told issuer, audience and keys.
    pub fn builder() -> JwtAuthenticatorBuilder {
        JwtAuthenticatorBuilder::new()
    }

    /// Verifies from now on with these keys and no others: at once, for all clones. A token that is being verified is judged by the old
    /// keys or the new ones, never by some of each.
    pub fn set_keys(&self, keys: JwtKeys) {
        let mut current = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, keys);
        drop(current);
        drop(old);
    }

    /// The keys of this moment.
    pub fn keys(&self) -> JwtKeys {
        self.0.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells whose token this is.
    ///
    /// # Errors
    ///
    /// [`AuthReason::Expired`] if the token was good once, [`AuthReason::UnknownKey`] if it names a key that is not at hand, and
    /// [`AuthReason::Invalid`] for everything else.
    pub fn verify(&self, token: &str) -> Result<Principal, AuthError> {
        let rules = &self.0.rules;
        if token.len() > rules.max_bytes {
            return Err(AuthError::invalid("the token is too long"));
        }
        let token = Token::parse(token).ok_or_else(|| AuthError::invalid("the token is malformed"))?;
        if token.header.crit {
            return Err(AuthError::invalid("the token has extensions that must be understood"));
        }
        rules.check_type(token.header.typ.as_deref())?;
        let keys = self.keys();
        let key = keys.find(token.header.kid.as_deref()).map_err(|none| match none {
            NoKey::Unnamed => {
                AuthError::invalid("the token does not say with which of the keys it is signed")
            }
            NoKey::Unknown => AuthError::new(AuthReason::UnknownKey),
        })?;
        if token.header.alg != key.algorithm().as_str() {
            return Err(AuthError::invalid("the token is signed with another algorithm than its key is for"));
        }
        if !key.verifies(token.message.as_bytes(), &token.signature) {
            return Err(AuthError::invalid("the signature does not match"));
        }
        let claims = token.claims().ok_or_else(|| AuthError::invalid("the claims are malformed"))?;
        rules.principal(&claims, self.0.clock.wall())
    }
}

impl Authenticator for JwtAuthenticator {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Principal, AuthError> {
        self.verify(credentials.expose_secret())
    }

    /// Issuer and audiences.
    fn realm(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0.realm)
    }
}

impl fmt::Debug for JwtAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtAuthenticator")
            .field("rules", &self.0.rules)
            .field("keys", &self.keys())
            .finish_non_exhaustive()
    }
}
