//! Public keys as PEM (RFC 7468): exactly the structures that such keys have (RFC 5280, 5480, 8017, 8410), and nothing else.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::DecodingKey;

use super::{JwtConfigError, algorithm::Family};

/// What stands before the 65 bytes of a point of P-256.
const P256: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
/// What stands before the 97 bytes of a point of P-384.
const P384: &[u8] =
    b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00";
/// What stands before the 32 bytes of a key of Ed25519.
const ED25519: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
/// The algorithm of an RSA key, as it stands in the key.
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;

pub(super) fn public_key(family: Family, pem: &str) -> Result<DecodingKey, JwtConfigError> {
    let (label, der) = block(pem)
        .ok_or_else(|| JwtConfigError::of("a key is no PEM: one block from `-----BEGIN` to `-----END`"))?;
    let key = match (family, &*label) {
        (Family::Secret, _) => return Err(JwtConfigError::of("a secret is no PEM")),
        (Family::P256, "PUBLIC KEY") => der.strip_prefix(P256).map(DecodingKey::from_ec_der),
        (Family::P384, "PUBLIC KEY") => der.strip_prefix(P384).map(DecodingKey::from_ec_der),
        (Family::Ed25519, "PUBLIC KEY") => der.strip_prefix(ED25519).map(DecodingKey::from_ed_der),
        (Family::Rsa, "PUBLIC KEY") => inside_spki(&der).and_then(rsa),
        (Family::Rsa, "RSA PUBLIC KEY") => rsa(&der),
        _ => {
            return Err(JwtConfigError::of(format!("a PEM is no public key: it says {label:?}")));
        }
    };
    key.ok_or_else(|| JwtConfigError::of("a PEM holds no key for its algorithm"))
}

/// The one block of the text, and what it is called.
fn block(pem: &str) -> Option<(String, Vec<u8>)> {
    let (label, rest) = pem.trim().strip_prefix("-----BEGIN ")?.split_once("-----")?;
    let body = rest.strip_suffix(&format!("-----END {label}-----"))?;
    let body: String = body.split_ascii_whitespace().collect();
    Some((label.to_owned(), STANDARD.decode(body).ok()?))
}

fn inside_spki(der: &[u8]) -> Option<&[u8]> {
    let (spki, []) = element(SEQUENCE, der)? else { return None };
    let (bits, []) = element(BITS, spki.strip_prefix(RSA)?)? else { return None };
    bits.strip_prefix(&[0])
}

fn rsa(der: &[u8]) -> Option<DecodingKey> {
    let (key, []) = element(SEQUENCE, der)? else { return None };
    let (modulus, rest) = element(INTEGER, key)?;
    let (exponent, []) = element(INTEGER, rest)? else { return None };
    Some(DecodingKey::from_rsa_raw_components(modulus, exponent))
}

/// An element of this kind, and what comes after it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match first {
        _ if found != tag => return None,
        0..=0x7f => (usize::from(first), rest),
        0x81 | 0x82 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}
