//! Tokens that are refused: what is wrong with each, and that nothing of it is told.

use super::*;
use JwtAlgorithm::{EdDsa, Es256, Hs256, Hs512, Rs256};
use proptest::prelude::*;

/// A bad token, by whom it is judged, the reason in the audit, and words of the message.
type Case = (&'static str, JwtAuthenticator, String, &'static str, &'static str);

fn header(text: &str) -> String {
    signed(Hs256, text, &claims(json!({})))
}

/// A token whose message is signed by somebody who has a secret of his own.
fn forged(alg: &str, secret: &[u8]) -> String {
    let message = format!("{}.{}", base64url(json!({"alg": alg}).to_string()), base64url(claims(json!({}))));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", base64url(tag))
}

fn cases_of_structure() -> Vec<Case> {
    let good = token(Hs256, json!({}));
    let parts: Vec<_> = good.split('.').map(str::to_owned).collect();
    let (head, body, tag) = (&*parts[0], &*parts[1], &*parts[2]);
    let none = base64url(r#"{"alg":"none"}"#);
    let wrong = "another algorithm";
    let mut cases = Vec::new();
    let mut case = |name, token: String, words| cases.push((name, verifier(Hs256), token, "invalid", words));
    case("no token", "x".to_owned(), "malformed");
    case("one dot", format!("{head}.{body}"), "malformed");
    case("three dots", format!("{good}.{tag}"), "malformed");
    case("five parts", format!("{head}.{body}.{body}.{body}.{tag}"), "malformed");
    case("empty header", format!(".{body}.{tag}"), "malformed");
    case("a space before", format!(" {good}"), "malformed");
    case("a newline after", format!("{good}\n"), "malformed");
    case("padding", format!("{good}="), "malformed");
    case("base64 of the other kind", format!("{head}.{body}.{}+/", &tag[2..]), "malformed");
    case("truncated", good[..good.len() - 3].to_owned(), "signature");
    // The last letter of 32 bytes has two bits that count for nothing.
    let last = tag.bytes().last().expect("a letter");
    let stray = char::from(if last.is_ascii_digit() { last } else { last + 1 });
    case("stray bits at the end", format!("{head}.{body}.{}{stray}", &tag[..tag.len() - 1]), "malformed");
    case("signature stripped", format!("{head}.{body}."), "signature");
    case("claims stripped", format!("{head}..{tag}"), "signature");
    case("huge", format!("{head}.{}.{tag}", "A".repeat(16 * 1024)), "too long");
    case("none", format!("{none}.{body}."), wrong);
    case("none with a signature", format!("{none}.{body}.{tag}"), wrong);
    case("None", header(r#"{"alg":"None"}"#), wrong);
    case("alg in small letters", header(r#"{"alg":"hs256"}"#), wrong);
    case("alg of another hash", signed(Hs512, r#"{"alg":"HS512"}"#, &claims(json!({}))), wrong);
    case("no alg", header(r#"{"typ":"JWT"}"#), "malformed");
    case("alg a number", header(r#"{"alg":256}"#), "malformed");
    case("alg twice", header(r#"{"alg":"none","alg":"HS256"}"#), "malformed");
    case("a header that is a list", header(r#"["HS256"]"#), "malformed");
    case("a header with more after it", header(r#"{"alg":"HS256"}{}"#), "malformed");
    case("kid a number", header(r#"{"alg":"HS256","kid":7}"#), "malformed");
    case("kid null", header(r#"{"alg":"HS256","kid":null}"#), "malformed");
    case("crit", header(r#"{"alg":"HS256","crit":["exp"],"exp":1}"#), "extensions");
    case("crit of nothing", header(r#"{"alg":"HS256","crit":null}"#), "extensions");
    case("unencoded payload", header(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#), "extensions");
    case("another secret", forged("HS256", &[9; 32]), "signature");
    case("an empty secret", forged("HS256", b""), "signature");
    case(
        "a key of its own",
        {
            let jwk = json!({"kty": "oct", "k": base64url([9; 32])});
            let head =
                base64url(json!({"alg": "HS256", "jwk": jwk, "jku": "https://evil.example"}).to_string());
            let message = format!("{head}.{body}");
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[9; 32]), message.as_bytes());
            format!("{message}.{}", base64url(tag))
        },
        "signature",
    );
    case("claims that are no JSON", signed(Hs256, r#"{"alg":"HS256"}"#, "{"), "claims are malformed");
    case("claims that are a list", signed(Hs256, r#"{"alg":"HS256"}"#, "[]"), "claims are malformed");
    case(
        "a claim twice",
        {
            let twice = claims(json!({})).replacen('{', r#"{"sub":"eve","#, 1);
            signed(Hs256, r#"{"alg":"HS256"}"#, &twice)
        },
        "claims are malformed",
    );
    case(
        "claims too deep",
        {
            let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
            signed(Hs256, r#"{"alg":"HS256"}"#, &deep)
        },
        "claims are malformed",
    );
    cases
}

fn cases_of_keys() -> Vec<Case> {
    let pem = fixtures::RSA_PUBLIC;
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(text).expect("base64");
    let several = [public_key(Es256).kid("a"), public_key(EdDsa).kid("b")];
    let several = JwtKeys::new(several).expect("keys");
    let rotated = verifier(Hs256);
    rotated.set_keys(several);
    let of = |kid: &str| signed(Es256, &json!({"alg": "ES256", "kid": kid}).to_string(), &claims(json!({})));
    let wrong = "another algorithm";
    let mut es = token(Es256, json!({}));
    es.truncate(es.rfind('.').expect("a dot") + 1);
    let zeros = format!("{es}{}", base64url([0; 64]));
    vec![
        (
            "HMAC by the PEM of a public key",
            verifier(Rs256),
            forged("HS256", pem.as_bytes()),
            "invalid",
            wrong,
        ),
        ("HMAC by the DER of a public key", verifier(Rs256), forged("HS256", &der), "invalid", wrong),
        ("HMAC that says RS256", verifier(Rs256), forged("RS256", pem.as_bytes()), "invalid", "signature"),
        ("RS256 at a verifier of HS256", verifier(Hs256), token(Rs256, json!({})), "invalid", wrong),
        (
            "PS256 at a verifier of RS256",
            verifier(Rs256),
            token(JwtAlgorithm::Ps256, json!({})),
            "invalid",
            wrong,
        ),
        ("ES256 of zeros", verifier(Es256), zeros, "invalid", "signature"),
        (
            "no kid where there are several keys",
            rotated.clone(),
            token(Es256, json!({})),
            "invalid",
            "which of the keys",
        ),
        ("an unknown kid", rotated.clone(), of("c"), "unknown_key", "key of the credentials is not known"),
        ("a kid of another key", rotated.clone(), of("b"), "invalid", wrong),
        ("a kid in other letters", rotated, of("A"), "unknown_key", "not known"),
        ("a kid for a key without", verifier(Es256), of("a"), "unknown_key", "not known"),
    ]
}

fn cases_of_claims() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case =
        |name, other, words| cases.push((name, verifier(Hs256), token(Hs256, other), "invalid", words));
    case("no exp", json!({"exp": null}), "never expires");
    case("exp a text", json!({"exp": "2000000000"}), "time is none");
    case("exp a list", json!({"exp": [NOW + 300]}), "time is none");
    case("not yet valid", json!({"nbf": NOW + 31}), "not valid yet");
    case("nbf a text", json!({"nbf": "0"}), "time is none");
    case("from the future", json!({"iat": NOW + 31}), "future");
    case("iat an object", json!({"iat": {}}), "time is none");
    case("no iss", json!({"iss": null}), "issuer");
    case("another iss", json!({"iss": "https://login.example.com/"}), "issuer");
    case("iss a list", json!({"iss": [ISSUER]}), "text is none");
    case("no aud", json!({"aud": null}), "audience");
    case("another aud", json!({"aud": "stageflow2"}), "audience");
    case("no aud in a list", json!({"aud": []}), "audience");
    case("other aud in a list", json!({"aud": ["a", "b"]}), "audience");
    case("aud among numbers", json!({"aud": ["stageflow", 1]}), "audience");
    case("no sub", json!({"sub": null}), "names no user");
    case("an empty sub", json!({"sub": ""}), "text is none");
    case("a blank sub", json!({"sub": " \t"}), "text is none");
    case("sub a number", json!({"sub": 7}), "text is none");
    case("no tenant", json!({"org_id": null}), "names no tenant");
    case("an empty tenant", json!({"org_id": ""}), "text is none");
    case("tenant a list", json!({"org_id": ["acme"]}), "text is none");
    case("tenant a number", json!({"org_id": 1}), "text is none");
    case("scope a number", json!({"scope": 1}), "scopes");
    case("scope a list of numbers", json!({"scope": ["read", 1]}), "scopes");
    for (name, exp) in
        [("expired", json!(NOW - 30)), ("long expired", json!(0)), ("before 1970", json!(-1e300))]
    {
        cases.push((name, verifier(Hs256), token(Hs256, json!({"exp": exp})), "expired", "have expired"));
    }
    cases
}

/// Every one of them is denied before a stage is reached, with an event, for its own reason, and nothing of it is told.
#[tokio::test(start_paused = true)]
async fn bad_tokens_are_denied_with_a_reason_and_without_a_trace() {
    let cases = [cases_of_structure(), cases_of_keys(), cases_of_claims()].concat();
    assert!(cases.len() >= 70, "{}", cases.len());
    for (name, verifier, token, reason, words) in cases {
        let seen = run(&verifier, &token).await;
        assert!(seen.is_denied(reason), "{name}: {seen:?}");
        assert!(seen.message.contains(words), "{name}: {}", seen.message);
        for part in token.split('.').filter(|part| part.len() > 8) {
            assert!(!seen.text.contains(part), "{name} shows {part}");
        }
    }
}

/// The negative control: what is not wrong with the tokens of the table is let through.
#[tokio::test(start_paused = true)]
async fn the_table_is_of_tokens_that_would_be_good() {
    assert!(run(&verifier(Hs256), &token(Hs256, json!({}))).await.is_let_through());
    assert!(run(&verifier(Hs256), &header(r#"{"alg":"HS256"}"#)).await.is_let_through());
    assert!(run(&verifier(Hs256), &forged("HS256", SECRET)).await.is_let_through());
    assert!(run(&verifier(Rs256), &token(Rs256, json!({}))).await.is_let_through());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// Of all tokens that differ in one byte from a good one, none says anything else, for each kind of key.
    #[test]
    fn a_token_with_another_byte_says_nothing_else(which in 0..4_usize, at in any::<prop::sample::Index>(), byte: u8) {
        let algorithm = [Hs256, Rs256, Es256, EdDsa][which];
        let verifier = verifier(algorithm);
        let good = token(algorithm, json!({}));
        let mut bytes = good.clone().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        let Ok(other) = String::from_utf8(bytes) else { return Ok(()) };
        prop_assert!(verifier.verify(&good).is_ok());
        prop_assert!(verifier.verify(&other).is_err(), "byte {} of {} as {}", at, good, byte);
    }
}
