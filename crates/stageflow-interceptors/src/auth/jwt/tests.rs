//! Signatures of others: those of RFC 7515 and RFC 8037, and of OpenSSL where the standards have none with a key of ours.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{JwtAlgorithm, JwtKey, JwtKeys, keys::NoKey, token::Token};

const MESSAGE: &[u8] = b"Live long and prosper.";

/// The claims of the examples of RFC 7515, appendix A, which have two bytes at the end of each line.
const JOE: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

const RSA: &str = "\
     vK3rXe4rzF6Jp-_fQwWUAgAxa6NLZ5CAShDaeuAlo7Q4haSzY3D3Om8ljMS6LPByViQJmnWP79mMPENEJSjJX_tGITjZCYmq\
     etR-qmE63J5dleCqLCq7lRS-tyXYsr4p0U6xzm-Rg9-MxgVa8FqQgzmVqhxDu7ta0uq--JvIqjxAHuTgbzb4Y0Bvork-vPQb\
     CtzlH4PUeanvsKakPJkZVfL3znbfHynlc5i7V3rNiExiBLbhyyxci4taCZ0Yg16TOkGmWnqXGhe3gfVMFCdYGEpSvAddNZ6P\
     omg9Bq5JpOVL_dxl89HTT9c9YNslsRR--yKJ2nE6-K4g4gF19FIo_w";

fn bytes(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// The signature is of the key and the message, and of no other message, and no part of it can be another.
fn is_of(key: &JwtKey, message: &[u8], signature: &[u8]) -> bool {
    let other = |at: usize| {
        let mut other = signature.to_vec();
        other[at] ^= 1;
        key.verifies(message, &other)
    };
    key.verifies(message, signature)
        && !key.verifies(&message[1..], signature)
        && !key.verifies(message, &signature[1..])
        && !key.verifies(message, &[])
        && !(0..signature.len()).any(other)
}

fn is_signed(key: &JwtKey, token: &str) -> bool {
    let token = Token::parse(token).unwrap();
    token.header.alg == key.algorithm().as_str() && is_of(key, token.message.as_bytes(), &token.signature)
}

#[test]
fn hs256_of_rfc_7515_a_1() {
    let secret =
        bytes("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow");
    let key = JwtKey::secret(JwtAlgorithm::Hs256, secret).unwrap();
    let header = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9";
    let token = format!("{header}.{JOE}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    assert!(is_signed(&key, &token));
    let token = Token::parse(&token).unwrap();
    assert_eq!(token.header.typ.as_deref(), Some("JWT"));
    assert_eq!(token.claims().unwrap().get("exp"), Some(&1_300_819_380.into()));
}

#[test]
fn es256_of_rfc_7515_a_3() {
    let key = JwtKey::jwk(
        r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
             "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
    );
    let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    assert!(is_signed(&key.unwrap(), &format!("eyJhbGciOiJFUzI1NiJ9.{JOE}.{signature}")));
}

#[test]
fn eddsa_of_rfc_8037_a_4() {
    let key =
        JwtKey::jwk(r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#);
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
                 hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert!(is_signed(&key.unwrap(), token));
    // Its payload is signed, and no claims.
    assert!(Token::parse(token).unwrap().claims().is_none());
}

#[test]
fn rsa_and_p_384_of_openssl() {
    let rsa =
        |alg: &str| JwtKey::jwk(&format!(r#"{{"kty":"RSA","alg":"{alg}","n":"{RSA}","e":"AQAB"}}"#)).unwrap();
    let (rs, ps) = (bytes(RS256), bytes(PS256));
    assert!(is_of(&rsa("RS256"), MESSAGE, &rs) && is_of(&rsa("PS256"), MESSAGE, &ps));
    for alg in ["RS384", "RS512", "PS256", "PS384", "PS512"] {
        assert!(!rsa(alg).verifies(MESSAGE, &rs), "{alg}");
    }
    for alg in ["RS256", "PS384", "PS512"] {
        assert!(!rsa(alg).verifies(MESSAGE, &ps), "{alg}");
    }
    let p384 = format!(r#"{{"kty":"EC","crv":"P-384","x":"{}","y":"{}"}}"#, P384[0], P384[1]);
    assert!(is_of(&JwtKey::jwk(&p384).unwrap(), MESSAGE, &bytes(ES384)));
}

#[test]
fn a_token_without_a_kid_is_for_the_only_key() {
    let key = |kid: &str| JwtKey::secret(JwtAlgorithm::Hs256, [1; 32]).unwrap().kid(kid);
    let one = JwtKeys::new([key("a")]).unwrap();
    assert!(one.find(None).is_ok() && one.find(Some("a")).is_ok());
    assert_eq!(one.find(Some("b")).unwrap_err(), NoKey::Unknown);
    let two = JwtKeys::new([key("a"), key("b")]).unwrap();
    assert_eq!(two.find(Some("b")).unwrap().id(), Some("b"));
    assert_eq!(two.find(None).unwrap_err(), NoKey::Unnamed);
}

const P384: [&str; 2] = [
    "9N7Q7pbna729spXEQ5V7KLgASnymgW4iIabJahBQGczaQdVzevhhh1hQ4l8pnuI8",
    "LsBD0sfJqEIptbLeSjoqN6V7cm1ZppQTz2V85Qqi4dZnehbgt-1ZscWPcY_SFmCU",
];

const RS256: &str = "\
     itfDtLrwBYgBplZZir_WsWCiqqB7FNJs3Jg6AyEaHdpx9eaYPsndxceE0cJ3UXL2o1X5TA-gxtTatBBxH80Slig8rOajrGOl\
     inhzvGmX16drxGyZ7TRP-CceLUff9yCGzyfyB8rvewkgcla7q9Aho5Y_88g5XkFoJM9ubMfDHap3f4pMMpikJzC7X-fR0Xsq\
     qpxJ2oHQV_bdTPs_3-IyaLrIM0Em3yWbO2Mffh1L-yost3rQ4GI2h8jhv9Zva5WGVIxNtzlC8RsDYoeg8CAfnKKlc-GXvqqG\
     NtHjLkCBcaWwqB2Mg1FkVU3erVXRHFdM7Oztc97iU09eGP5UCxZpOQ";

const PS256: &str = "\
     UmTszEYez6WqNpVxsLle8gCYVFceKsGYKWMf7BNKiy58S6sQKNipXdzLcBYevMlRnUlmrIzcl2JG-Ua-pNpxEJXXdfXDq4Wj\
     PczaDVzYn46gKN2qIWpyUxw8oMt0mG3YzZ9FhMulcR7YT0cNhG1pBJe0juS18J4wTXgF4exvwT5RChi_or-Kzi5ISV5wLsmf\
     6sYQmFUf9-yKjueqBONoaVHQX6r5xTKaNoVY4cCLP7SWO8r8AmKmIEBPjUDCRbP3ggiItxrvg_mVAj-apQK8A466lxjLssd2\
     123oWvwHpZ7iQBaEOjEv61ILpIIi73ScbIydHEKXkdy1jWFYHUfazQ";

const ES384: &str = "\
     L969jfCe-yvZxiEjyQPp054lEsy9RSJQkhw56eJ00hH2_EuSp4paRK0mSmy7Cte44mjxYFcHXcjv39B1hOE2Dxglve0Tmphq\
     ZcgxMl35u_HuIYl7GQJ_JO3ZImuqA4R2";
