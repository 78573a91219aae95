//! Signatures, by *ring*: the one place that computes.

use jsonwebtoken::DecodingKeyKind;
use ring::{hmac, signature as public};

use super::JwtAlgorithm;

/// Whether the signature of the message was made with this key. What does not fit together verifies nothing.
pub(super) fn verifies(
    algorithm: JwtAlgorithm,
    key: &DecodingKeyKind,
    message: &[u8],
    signature: &[u8],
) -> bool {
    match algorithm {
        JwtAlgorithm::Hs256 => mac(hmac::HMAC_SHA256, key, message, signature),
        JwtAlgorithm::Hs384 => mac(hmac::HMAC_SHA384, key, message, signature),
        JwtAlgorithm::Hs512 => mac(hmac::HMAC_SHA512, key, message, signature),
        JwtAlgorithm::Rs256 => rsa(&public::RSA_PKCS1_2048_8192_SHA256, key, message, signature),
        JwtAlgorithm::Rs384 => rsa(&public::RSA_PKCS1_2048_8192_SHA384, key, message, signature),
        JwtAlgorithm::Rs512 => rsa(&public::RSA_PKCS1_2048_8192_SHA512, key, message, signature),
        JwtAlgorithm::Ps256 => rsa(&public::RSA_PSS_2048_8192_SHA256, key, message, signature),
        JwtAlgorithm::Ps384 => rsa(&public::RSA_PSS_2048_8192_SHA384, key, message, signature),
        JwtAlgorithm::Ps512 => rsa(&public::RSA_PSS_2048_8192_SHA512, key, message, signature),
        JwtAlgorithm::Es256 => curve(&public::ECDSA_P256_SHA256_FIXED, key, message, signature),
        JwtAlgorithm::Es384 => curve(&public::ECDSA_P384_SHA384_FIXED, key, message, signature),
        JwtAlgorithm::EdDsa => curve(&public::ED25519, key, message, signature),
    }
}

/// In a time that does not depend on where the two differ.
fn mac(hash: hmac::Algorithm, key: &DecodingKeyKind, message: &[u8], signature: &[u8]) -> bool {
    let DecodingKeyKind::SecretOrDer(secret) = key else { return false };
    hmac::verify(&hmac::Key::new(hash, secret), message, signature).is_ok()
}

fn rsa(by: &public::RsaParameters, key: &DecodingKeyKind, message: &[u8], signature: &[u8]) -> bool {
    let DecodingKeyKind::RsaModulusExponent { n, e } = key else { return false };
    public::RsaPublicKeyComponents { n, e }.verify(by, message, signature).is_ok()
}

fn curve(
    by: &'static dyn public::VerificationAlgorithm,
    key: &DecodingKeyKind,
    message: &[u8],
    signature: &[u8],
) -> bool {
    let DecodingKeyKind::SecretOrDer(point) = key else { return false };
    public::UnparsedPublicKey::new(by, point).verify(message, signature).is_ok()
}
