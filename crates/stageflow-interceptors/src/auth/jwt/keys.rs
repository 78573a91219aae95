//! All keys of a moment, and which of them a token is for.

use std::{collections::BTreeSet, sync::Arc};

use super::{JwtConfigError, JwtKey, jwk};

/// The keys of a moment, told apart by their ids. Cheap to clone.
///
/// ```
/// use stageflow_interceptors::JwtKeys;
///
/// let keys = JwtKeys::jwks(r#"{"keys": [{
///     "kty": "OKP", "crv": "Ed25519", "kid": "2026-11",
///     "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
/// }]}"#)?;
/// assert_eq!(keys.iter().map(|key| key.algorithm().as_str()).collect::<Vec<_>>(), ["EdDSA"]);
/// # Ok::<(), stageflow_interceptors::JwtConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct JwtKeys(Arc<[JwtKey]>);

/// Why there is no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    Unnamed,
    Unknown,
}

impl JwtKeys {
    /// These keys.
    ///
    /// # Errors
    ///
    /// [`JwtConfigError`] if there are none, if two have the same id, or if one of several has none.
    pub fn new(keys: impl IntoIterator<Item = JwtKey>) -> Result<Self, JwtConfigError> {
        let keys: Arc<[JwtKey]> = keys.into_iter().collect();
        let mut problems = Vec::new();
        if keys.is_empty() {
            problems.push("there is no key that can verify tokens".to_owned());
        }
        let mut ids = BTreeSet::new();
        for key in &*keys {
            if key.id().is_none() && keys.len() > 1 {
                problems.push(format!("of several keys each needs an id, and one is {key}"));
            }
            if key.id().is_some_and(|id| !ids.insert(id)) {
                problems.push(format!("two keys have one id: {key}"));
            }
        }
        JwtConfigError::check(problems)?;
        Ok(Self(keys))
    }

    /// The keys of a JSON Web Key Set (RFC 7517), as issuers publish them. Keys for other uses and of other kinds are left out.
    ///
    /// # Errors
    ///
    /// [`JwtConfigError`] if it is no such set, if one of its keys is malformed, private or a secret, or as [`new`](Self::new) has it.
    pub fn jwks(json: &str) -> Result<Self, JwtConfigError> {
        Self::new(jwk::many(json)?)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &JwtKey> {
        self.0.iter()
    }

    /// The key that a token names. One that names none is for the only key.
    pub(super) fn find(&self, kid: Option<&str>) -> Result<&JwtKey, NoKey> {
        match (kid, &*self.0) {
            (Some(kid), keys) => keys.iter().find(|key| key.id() == Some(kid)).ok_or(NoKey::Unknown),
            (None, [only]) => Ok(only),
            (None, _) => Err(NoKey::Unnamed),
        }
    }
}
