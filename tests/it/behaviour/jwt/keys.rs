//! Keys: what is taken for one, what is shown of it, and how it is replaced.

use super::*;

fn coordinates(pem: &str, bytes: usize) -> Vec<u8> {
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(text).expect("base64");
    der[der.len() - bytes..].to_vec()
}

/// The key set of the issuer, as it publishes it.
fn published() -> Json {
    let (p256, p384) = (coordinates(fixtures::P256_PUBLIC, 64), coordinates(fixtures::P384_PUBLIC, 96));
    let (rsa, ed) = (coordinates(fixtures::RSA_PUBLIC, 256 + 5), coordinates(fixtures::ED25519_PUBLIC, 32));
    let n = base64url(&rsa[..256]);
    json!({"keys": [
        {"kty": "RSA", "use": "sig", "kid": "rs", "n": n, "e": "AQAB", "x5t": "ignored"},
        {"kty": "RSA", "use": "sig", "kid": "ps", "alg": "PS256", "n": n, "e": "AQAB"},
        {"kty": "EC", "crv": "P-256", "kid": "es", "x": base64url(&p256[..32]), "y": base64url(&p256[32..])},
        {"kty": "EC", "crv": "P-384", "kid": "es3", "key_ops": ["verify"],
            "x": base64url(&p384[..48]), "y": base64url(&p384[48..])},
        {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "alg": "Ed25519", "x": base64url(&ed)},
        {"kty": "RSA", "use": "enc", "kid": "enc", "n": n, "e": "AQAB"},
        {"kty": "RSA", "kid": "oaep", "alg": "RSA-OAEP", "n": n, "e": "AQAB"},
        {"kty": "EC", "crv": "P-521", "kid": "big", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "kid": "dh", "key_ops": ["deriveKey"], "x": "AA", "y": "AA"},
        {"kty": "AKP", "kid": "new", "alg": "ML-DSA-44", "pub": "AA"},
    ]})
}

/// Keys of a set verify what the issuer has signed with them; what is for other uses is left out.
#[tokio::test(start_paused = true)]
async fn a_published_set_has_the_keys_that_verify() {
    let keys = JwtKeys::jwks(&published().to_string()).expect("a set");
    let found: Vec<_> = keys.iter().map(|key| format!("{key}")).collect();
    let expected =
        ["`rs` for RS256", "`ps` for PS256", "`es` for ES256", "`es3` for ES384", "`ed` for EdDSA"];
    assert_eq!(found, expected);
    let verifier = rules(&Wall::new()).jwks(&published().to_string()).build().expect("a verifier");
    for key in keys.iter() {
        let header = json!({"alg": key.algorithm().as_str(), "kid": key.id()}).to_string();
        let seen = run(&verifier, &signed(key.algorithm(), &header, &claims(json!({})))).await;
        assert!(seen.is_let_through(), "{key}: {seen:?}");
    }
    let pkcs1 = JwtKey::pem(JwtAlgorithm::Rs512, fixtures::RSA_PKCS1).expect("a key");
    let verifier = rules(&Wall::new()).key(pkcs1).build().expect("a verifier");
    assert!(run(&verifier, &token(JwtAlgorithm::Rs512, json!({}))).await.is_let_through());
}

/// What is no good key is an error when it is read, and nothing of it is in the error.
#[test]
fn bad_keys_are_refused_when_they_are_read() {
    let mut private = published();
    private["keys"][0]["d"] = json!("c2VjcmV0LXNlY3JldA");
    let mut secret = published();
    secret["keys"][0] = json!({"kty": "oct", "kid": "s", "alg": "HS256", "k": base64url(SECRET)});
    let mut twice = published();
    twice["keys"][1]["kid"] = json!("rs");
    let mut nameless = published();
    nameless["keys"][0].as_object_mut().expect("a key").remove("kid");
    let mut confused = published();
    confused["keys"][2]["alg"] = json!("HS256");
    let mut short = published();
    short["keys"][2]["x"] = json!("AAAA");
    let mut weak = published();
    weak["keys"][0]["n"] = json!(base64url([0xff; 128]));
    let mut padded = published();
    padded["keys"][0]["n"] = json!(base64url([vec![0; 200], vec![0xff; 128]].concat()));
    for (set, words) in [
        (private, "private key"),
        (secret, "holds a secret"),
        (twice, "two keys have one id: `rs` for PS256"),
        (nameless, "each needs an id"),
        (confused, "not its own"),
        (short, "two whole coordinates"),
        (weak, "2048 to 8192 bits"),
        (padded, "2048 to 8192 bits"),
        (json!({"keys": []}), "no key that can verify"),
        (json!({"keys": 1}), "no list"),
        (json!([]), "no list"),
        (json!({"keys": [{"kty": "RSA", "kid": "x"}]}), "malformed"),
    ] {
        let error = JwtKeys::jwks(&set.to_string()).expect_err(words);
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert!(!format!("{error} {error:?}").contains(&base64url(SECRET)[..20]), "{words}");
        assert!(!format!("{error} {error:?}").contains("c2VjcmV0"), "{words}");
    }
    assert!(JwtKeys::jwks("{").is_err());

    let pem = |algorithm, text: &str| JwtKey::pem(algorithm, text).expect_err("a bad key").to_string();
    assert!(pem(JwtAlgorithm::Rs256, fixtures::SHORT_RSA_PUBLIC).contains("2048 to 8192 bits"));
    assert!(pem(JwtAlgorithm::Es384, fixtures::P256_PUBLIC).contains("no key for its algorithm"));
    assert!(pem(JwtAlgorithm::Rs256, fixtures::P256_PUBLIC).contains("no key for its algorithm"));
    assert!(pem(JwtAlgorithm::Hs256, fixtures::RSA_PUBLIC).contains("a secret is no PEM"));
    assert!(pem(JwtAlgorithm::Es256, "key").contains("no PEM"));
    let private = fixtures::RSA_PUBLIC.replace("PUBLIC", "PRIVATE");
    assert!(pem(JwtAlgorithm::Rs256, &private).contains("no public key"));
    assert!(JwtKey::secret(JwtAlgorithm::Hs512, [1; 63]).is_err());
    assert!(JwtKey::secret(JwtAlgorithm::Rs256, [1; 64]).is_err());
}

/// A single key may be a secret, and says for what.
#[test]
fn a_secret_may_be_a_key_of_its_own() {
    let jwk = json!({"kty": "oct", "kid": "s", "alg": "HS384", "k": base64url(SECRET)});
    let key = JwtKey::jwk(&jwk.to_string()).expect("a key");
    assert_eq!((key.algorithm(), key.id()), (JwtAlgorithm::Hs384, Some("s")));
    assert!(JwtKey::jwk(&json!({"kty": "oct", "k": base64url(SECRET)}).to_string()).is_err());
    assert!(JwtKey::jwk(&json!({"kty": "oct", "alg": "HS256", "k": "AAAA"}).to_string()).is_err());
}

/// New keys count at once and for all clones, old ones no longer; a run that was let in goes on.
#[tokio::test(start_paused = true)]
async fn keys_are_replaced_at_once() {
    let verifier = verifier(JwtAlgorithm::Hs256);
    let clone = verifier.clone();
    let (old, new) = (token(JwtAlgorithm::Hs256, json!({})), token(JwtAlgorithm::EdDsa, json!({})));
    assert!(run(&verifier, &old).await.is_let_through());
    assert!(run(&verifier, &new).await.is_denied("invalid"));
    clone.set_keys(JwtKeys::new([public_key(JwtAlgorithm::EdDsa)]).expect("keys"));
    assert!(run(&verifier, &old).await.is_denied("invalid"));
    assert!(run(&verifier, &new).await.is_let_through());
}

/// While keys are replaced, whoever signs with those that stay is let in.
#[test]
fn a_replacement_is_never_seen_half_done() {
    let sets = [["a", "b"], ["b", "c"]]
        .map(|ids| JwtKeys::new(ids.map(|id| public_key(JwtAlgorithm::Hs256).kid(id))).expect("keys"));
    let verifier = verifier(JwtAlgorithm::Hs256);
    verifier.set_keys(sets[0].clone());
    let stays = signed(JwtAlgorithm::Hs256, r#"{"alg":"HS256","kid":"b"}"#, &claims(json!({})));
    std::thread::scope(|scope| {
        let rotating = scope.spawn(|| {
            for turn in 0..2000 {
                verifier.set_keys(sets[turn % 2].clone());
            }
        });
        let mut verified = 0;
        while !rotating.is_finished() || verified < 100 {
            verifier.verify(&stays).expect("its key is always there");
            verified += 1;
        }
    });
}

/// Neither keys nor tokens are in what is printed.
#[test]
fn nothing_secret_is_printed() {
    let key = public_key(JwtAlgorithm::Hs256).kid("s");
    let builder = rules(&Wall::new()).key(key.clone());
    let mut text = format!("{key:?} {key} {builder:?}");
    let verifier = builder.build().expect("a verifier");
    text += &format!("{verifier:?} {:?} {:?}", verifier.keys(), Authenticate::new(verifier.clone()));
    let secret = String::from_utf8_lossy(SECRET);
    assert!(
        !text.contains(&secret[..12]) && !text.contains(&format!("{}, {}", SECRET[0], SECRET[1])),
        "{text}"
    );
    assert!(text.contains(ISSUER) && text.contains("Hs256"), "{text}");
}

/// Nothing is left out by mistake, and nothing works without being told.
#[test]
fn issuer_audience_and_keys_are_mandatory() {
    let whole = || JwtAuthenticator::builder().issuer("i").audience("a").key(public_key(JwtAlgorithm::Hs256));
    assert!(whole().build().is_ok());
    assert_eq!(whole().issuer(" ").build().unwrap_err().problems(), ["there is no issuer"]);
    let key = || public_key(JwtAlgorithm::Hs256);
    let without = JwtAuthenticator::builder().issuer("i").key(key());
    assert_eq!(without.build().unwrap_err().problems(), ["there is no audience"]);
    let blank = JwtAuthenticator::builder().issuer("i").key(key()).audience("");
    assert_eq!(blank.build().unwrap_err().problems(), ["there is no audience"]);
    let without = JwtAuthenticator::builder().issuer("i").audience("a");
    assert_eq!(without.build().unwrap_err().problems(), ["there is no key that can verify tokens"]);
    let all = JwtAuthenticator::builder().jwks("[").build().unwrap_err();
    assert_eq!((all.problems().len(), all.code()), (4, stageflow::code::INVALID_POLICY));
}
