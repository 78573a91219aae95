//! What a token must say to be believed (RFC 7519, section 4.1; RFC 8725), once its signature is proven.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use serde_json::Value;

use super::{
    super::{AuthError, Principal},
    token::Members,
};

/// The name of a claim, and whether a token without it is refused.
pub(super) type Wanted = (Cow<'static, str>, bool);

#[derive(Debug)]
pub(super) struct Rules {
    pub(super) issuer: String,
    pub(super) audiences: BTreeSet<String>,
    pub(super) token_type: Option<String>,
    pub(super) leeway: Duration,
    pub(super) max_age: Option<Duration>,
    pub(super) max_bytes: usize,
    pub(super) user: Cow<'static, str>,
    pub(super) tenant: Option<Wanted>,
    pub(super) organisation: Option<Wanted>,
    pub(super) scope: Cow<'static, str>,
}

impl Rules {
    /// Whether the token is of the kind that is asked for (RFC 8725, section 3.11): a media type, `application/` left out or not.
    pub(super) fn check_type(&self, found: Option<&str>) -> Result<(), AuthError> {
        let Some(wanted) = &self.token_type else { return Ok(()) };
        let short = |name: &str| {
            let name = name.to_ascii_lowercase();
            name.strip_prefix("application/").map_or(name.clone(), str::to_owned)
        };
        match found {
            Some(found) if short(found) == short(wanted) => Ok(()),
            _ => Err(AuthError::invalid("the token is of another type")),
        }
    }

    /// Whom the claims are about, if they hold now.
    pub(super) fn principal(&self, claims: &Members, now: SystemTime) -> Result<Principal, AuthError> {
        if text(claims, "iss")? != Some(&self.issuer) {
            return Err(AuthError::invalid("the token is by another issuer"));
        }
        self.check_audience(claims)?;
        let left = self.check_times(claims, now)?;
        let user = text(claims, &self.user)?.ok_or_else(|| AuthError::invalid("the token names no user"))?;
        let mut principal = Principal::builder(user).scopes(scopes(claims, &self.scope)?).expires_in(left);
        if let Some(tenant) = wanted(claims, self.tenant.as_ref(), "the token names no tenant")? {
            principal = principal.tenant(tenant);
        }
        let without = "the token names no organisation";
        if let Some(organisation) = wanted(claims, self.organisation.as_ref(), without)? {
            principal = principal.organisation(organisation);
        }
        Ok(principal.build())
    }

    fn check_audience(&self, claims: &Members) -> Result<(), AuthError> {
        let own = |name: &Value| name.as_str().is_some_and(|name| self.audiences.contains(name));
        let meant = match claims.get("aud") {
            Some(Value::Array(names)) => names.iter().all(Value::is_string) && names.iter().any(own),
            Some(name) => own(name),
            None => false,
        };
        if meant { Ok(()) } else { Err(AuthError::invalid("the token is for another audience")) }
    }

    /// How long the token holds from now on.
    fn check_times(&self, claims: &Members, now: SystemTime) -> Result<Duration, AuthError> {
        let Ok(now) = now.duration_since(SystemTime::UNIX_EPOCH) else {
            return Err(AuthError::unavailable("the clock is not set"));
        };
        let (now, leeway) = (now.as_secs_f64(), self.leeway.as_secs_f64());
        let Some(end) = seconds(claims, "exp")? else {
            return Err(AuthError::invalid("the token never expires"));
        };
        if seconds(claims, "nbf")?.is_some_and(|begin| begin > now + leeway) {
            return Err(AuthError::invalid("the token is not valid yet"));
        }
        let issued = seconds(claims, "iat")?;
        if issued.is_some_and(|at| at > now + leeway) {
            return Err(AuthError::invalid("the token comes from the future"));
        }
        let mut left = end + leeway - now;
        if let Some(age) = self.max_age {
            let Some(issued) = issued else {
                return Err(AuthError::invalid("the token does not tell its age"));
            };
            left = left.min(issued + age.as_secs_f64() + leeway - now);
        }
        if left <= 0.0 {
            return Err(AuthError::expired());
        }
        Ok(Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX))
    }
}

/// A text that says something.
fn text<'a>(claims: &'a Members, name: &str) -> Result<Option<&'a str>, AuthError> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text)),
        Some(_) => Err(AuthError::invalid("a claim that should be a text is none")),
    }
}

fn wanted<'a>(
    claims: &'a Members,
    wanted: Option<&Wanted>,
    without: &'static str,
) -> Result<Option<&'a str>, AuthError> {
    let Some((name, must)) = wanted else { return Ok(None) };
    match text(claims, name)? {
        None if *must => Err(AuthError::invalid(without)),
        found => Ok(found),
    }
}

/// Seconds since 1970 (`NumericDate`).
fn seconds(claims: &Members, name: &str) -> Result<Option<f64>, AuthError> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            Some(seconds) if seconds.is_finite() => Ok(Some(seconds)),
            _ => Err(AuthError::invalid("a claim that should be a time is none")),
        },
    }
}

/// A text with spaces (RFC 8693, section 4.2), or a list.
fn scopes<'a>(claims: &'a Members, name: &str) -> Result<Vec<&'a str>, AuthError> {
    match claims.get(name) {
        None => Some(Vec::new()),
        Some(Value::String(text)) => Some(text.split_ascii_whitespace().collect()),
        Some(Value::Array(list)) => list.iter().map(Value::as_str).collect(),
        Some(_) => None,
    }
    .ok_or_else(|| AuthError::invalid("the scopes are no texts"))
}
