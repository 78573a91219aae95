//! JSON Web Keys, one and many.

use jsonwebtoken::{DecodingKey, jwk::Jwk};
use serde_json::Value;

use super::{JwtAlgorithm, JwtConfigError, JwtKey, algorithm::Family};

/// The one key that is written here.
pub(super) fn one(json: &str) -> Result<JwtKey, JwtConfigError> {
    let value = parse(json)?;
    if value.get("kty").and_then(Value::as_str) == Some("oct") {
        return secret(value);
    }
    key(value)?.ok_or_else(|| JwtConfigError::of("a JWK is for something that is not supported"))
}

/// The keys of a set that can verify tokens.
pub(super) fn many(json: &str) -> Result<Vec<JwtKey>, JwtConfigError> {
    let mut set = parse(json)?;
    let Some(Value::Array(values)) = set.get_mut("keys").map(Value::take) else {
        return Err(JwtConfigError::of("a JWK set has no list of `keys`"));
    };
    values.into_iter().filter_map(|value| key(value).transpose()).collect()
}

fn parse(json: &str) -> Result<Value, JwtConfigError> {
    // What serde_json says would quote the text.
    serde_json::from_str(json).map_err(|_| JwtConfigError::of("a JWK is no JSON"))
}

/// A public key; none if it is for something else.
fn key(value: Value) -> Result<Option<JwtKey>, JwtConfigError> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    if text("kty") == Some("oct") {
        return Err(JwtConfigError::of("a JWK set holds a secret: whoever can read the set can sign tokens"));
    }
    if value.get("d").is_some() {
        return Err(JwtConfigError::of("a JWK is a private key: whoever can read it can sign tokens"));
    }
    if text("use").is_some_and(|what| what != "sig") || !may_verify(&value) {
        return Ok(None);
    }
    let natural = match (text("kty"), text("crv")) {
        (Some("RSA"), _) => JwtAlgorithm::Rs256,
        (Some("EC"), Some("P-256")) => JwtAlgorithm::Es256,
        (Some("EC"), Some("P-384")) => JwtAlgorithm::Es384,
        (Some("OKP"), Some("Ed25519")) => JwtAlgorithm::EdDsa,
        _ => return Ok(None),
    };
    let algorithm = match text("alg") {
        None => natural,
        // RFC 9864 names the algorithm after the curve.
        Some("Ed25519") if natural == JwtAlgorithm::EdDsa => natural,
        Some(name) => match JwtAlgorithm::named(name) {
            Some(algorithm) if algorithm.family() == natural.family() => algorithm,
            Some(_) => return Err(JwtConfigError::of("a JWK names an algorithm that is not its own")),
            None => return Ok(None),
        },
    };
    let (jwk, kid) = read(value)?;
    let key = JwtKey::checked(algorithm, jwk)?;
    Ok(Some(match kid {
        Some(kid) => key.kid(kid),
        None => key,
    }))
}

fn secret(value: Value) -> Result<JwtKey, JwtConfigError> {
    let named = value.get("alg").and_then(Value::as_str).and_then(JwtAlgorithm::named);
    let algorithm = named
        .filter(|algorithm| algorithm.family() == Family::Secret)
        .ok_or_else(|| JwtConfigError::of("a JWK that is a secret names no HS256, HS384 or HS512"))?;
    let (jwk, kid) = read(value)?;
    let key = JwtKey::secret(algorithm, jwk.as_bytes())?;
    Ok(match kid {
        Some(kid) => key.kid(kid),
        None => key,
    })
}

/// Whether nothing says that it is not for verifying.
fn may_verify(value: &Value) -> bool {
    match value.get("key_ops") {
        None => true,
        Some(Value::Array(uses)) => uses.iter().any(|what| what == "verify"),
        Some(_) => false,
    }
}

fn read(value: Value) -> Result<(DecodingKey, Option<String>), JwtConfigError> {
    let malformed = || JwtConfigError::of("a JWK is malformed");
    let jwk: Jwk = serde_json::from_value(value).map_err(|_| malformed())?;
    let key = DecodingKey::from_jwk(&jwk).map_err(|_| malformed())?;
    Ok((key, jwk.common.key_id))
}
