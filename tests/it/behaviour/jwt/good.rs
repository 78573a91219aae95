//! Tokens that are good: whose they are, and for how long.

use super::{
    super::kit::{error_of, gives, naps, same, solo},
    *,
};
use stageflow::interceptors::TenantGuard;

/// S-31: what the token says stands over what the caller has said, for every algorithm.
#[tokio::test(start_paused = true)]
async fn a_good_token_of_each_algorithm_says_whose_run_it_is() {
    for algorithm in JwtAlgorithm::ALL {
        let auth = Authenticate::new(verifier(algorithm)).require("run");
        let engine = Engine::builder().interceptor(auth.clone()).interceptor(TenantGuard::new(&auth));
        let engine = engine.build().expect("an engine");
        let whose = pipeline(|p| {
            let stage = stage_fn(|ctx: StageContext, (): ()| async move {
                let identity = ctx.identity();
                Ok((identity.user_id().cloned(), identity.tenant_id().cloned()))
            });
            p.stage("whose", stage).inputs(())
        });
        let shown = Credentials::bearer(token(algorithm, json!({})));
        let admitted = auth.admit(&shown).await.expect("it is good");
        assert_eq!(admitted.principal().scopes().collect::<Vec<_>>(), ["read", "run"], "{algorithm}");
        let run = engine.run(&whose, ()).user("mallory").tenant("globex");
        let run = within(run.with(|snapshot| admitted.apply(snapshot))).await.expect("it runs");
        let (user, tenant) = run.output();
        assert_eq!(user.as_ref().map(stageflow::UserId::as_str), Some("ada"), "{algorithm}");
        assert_eq!(tenant.as_ref().map(stageflow::TenantId::as_str), Some("acme"), "{algorithm}");

        let seen = super::run(&verifier(algorithm), &token(algorithm, json!({}))).await;
        assert!(seen.is_let_through(), "{algorithm}: {seen:?}");
    }
}

/// Whatever a caller says beside a token that is not for it is denied.
#[tokio::test(start_paused = true)]
async fn a_run_for_another_tenant_than_the_tokens_is_denied() {
    let engine = Engine::builder().interceptor(Authenticate::new(verifier(JwtAlgorithm::Es256)));
    let engine = engine.build().expect("an engine");
    let shown = Credentials::bearer(token(JwtAlgorithm::Es256, json!({})));
    let one = solo(gives(1_u32));
    let run = engine.run(&one, ()).tenant("globex").extension(shown);
    let error = error_of(run).await;
    assert_eq!(error.outcome(), Some(RunOutcome::Denied));
}

/// What may be said in several ways.
#[tokio::test(start_paused = true)]
async fn unusual_tokens_that_are_good() {
    let good = [
        ("several audiences", json!({"aud": ["other", "stageflow-eu"]})),
        ("fractions of seconds", json!({"exp": NOW as f64 + 0.5, "iat": NOW as f64 - 0.25})),
        ("no nbf and no iat", json!({"nbf": null, "iat": null})),
        ("scopes as a list", json!({"scope": ["read", "run"]})),
        ("no scopes", json!({"scope": null})),
        ("an end beyond all clocks", json!({"exp": 1e300})),
        ("expired within the leeway", json!({"exp": NOW - 29})),
        ("begins within the leeway", json!({"nbf": NOW + 30, "iat": NOW + 30})),
        ("claims of others", json!({"nonce": [1, {"a": "b"}], "ключ": true})),
    ];
    for (what, other) in good {
        let seen = run(&verifier(JwtAlgorithm::Hs256), &token(JwtAlgorithm::Hs256, other)).await;
        assert!(seen.is_let_through(), "{what}: {seen:?}");
    }
    let header =
        r#"{"alg":"HS256","exp":7,"jku":"https://evil.example","jwk":{"kty":"oct","k":"AAAA"},"x5u":1}"#;
    let seen =
        run(&verifier(JwtAlgorithm::Hs256), &signed(JwtAlgorithm::Hs256, header, &claims(json!({})))).await;
    assert!(seen.is_let_through(), "headers that count for nothing: {seen:?}");
}

/// A principal is somebody until its token expires, and the leeway longer; a run that goes on is stopped before its next stage.
#[tokio::test(start_paused = true)]
async fn a_token_that_expires_stops_the_run_before_the_next_stage() {
    for (time, outcome) in [(300 + 29, None), (300 + 30, Some(RunOutcome::Denied))] {
        let verifier = verifier(JwtAlgorithm::Hs256);
        let two = pipeline(|p| {
            let first = p.stage("first", naps(time.secs(), 1)).inputs(());
            p.stage("second", same()).inputs(first)
        });
        let engine = Engine::builder().interceptor(Authenticate::new(verifier)).build().expect("an engine");
        let shown = Credentials::bearer(token(JwtAlgorithm::Hs256, json!({})));
        let done = within(engine.run(&two, ()).extension(shown)).await;
        assert_eq!(done.err().and_then(|error| error.outcome()), outcome, "after {time} s");
    }
}

/// `max_age` counts from `iat`, whatever `exp` says.
#[tokio::test(start_paused = true)]
async fn tokens_are_no_older_than_they_may_be() {
    let wall = Wall::new();
    let key = public_key(JwtAlgorithm::Hs256);
    let young = rules(&wall).key(key).max_age(60.secs()).leeway(5.secs()).build().expect("a verifier");
    let old = token(JwtAlgorithm::Hs256, json!({}));
    wall.0.store(NOW + 64, Ordering::SeqCst);
    let principal = young.verify(&old).expect("young enough");
    assert_eq!(principal.expires(), Some(tokio::time::Instant::now() + 1.secs()));
    wall.0.store(NOW + 65, Ordering::SeqCst);
    assert!(run(&young, &old).await.is_denied("expired"));
    let ageless = token(JwtAlgorithm::Hs256, json!({"iat": null}));
    let seen = run(&young, &ageless).await;
    assert!(seen.is_denied("invalid") && seen.message.contains("does not tell its age"), "{seen:?}");
}

/// The claims that are asked for, under names of their own.
#[tokio::test(start_paused = true)]
async fn claims_have_the_names_that_the_issuer_gives_them() {
    let verifier = JwtAuthenticator::builder().issuer(ISSUER).audience("stageflow").clock(Wall::new());
    let verifier = verifier.user_claim("email").optional_tenant_claim("tid").organisation_claim("org_id");
    let verifier = verifier.scope_claim("scp").token_type("at+JWT").key(public_key(JwtAlgorithm::Hs256));
    let verifier = verifier.build().expect("a verifier");
    let header = r#"{"alg":"HS256","typ":"application/AT+jwt"}"#;
    let made = |other| signed(JwtAlgorithm::Hs256, header, &claims(other));
    let ada = verifier.verify(&made(json!({"email": "ada@acme.example", "scp": ["x"]}))).expect("it is good");
    assert_eq!(
        (ada.user().as_str(), ada.tenant(), ada.organisation()),
        ("ada@acme.example", None, Some("acme"))
    );
    assert_eq!(ada.scopes().collect::<Vec<_>>(), ["x"]);
    let seen = run(&verifier, &made(json!({"email": null}))).await;
    assert!(seen.is_denied("invalid") && seen.message.contains("names no user"), "{seen:?}");
    let seen = run(&verifier, &made(json!({"email": "ada", "org_id": null}))).await;
    assert!(seen.is_denied("invalid") && seen.message.contains("names no organisation"), "{seen:?}");
    let seen = run(&verifier, &token(JwtAlgorithm::Hs256, json!({"email": "ada"}))).await;
    assert!(seen.is_denied("invalid") && seen.message.contains("another type"), "{seen:?}");
}

/// A run that one verifier has admitted is not let through by that of another issuer or audience.
#[tokio::test(start_paused = true)]
async fn a_proof_counts_in_its_own_realm_alone() {
    let one = solo(gives(1_u32));
    for (issuer, audience, let_through) in
        [(ISSUER, "stageflow", true), ("https://other.example", "stageflow", false), (ISSUER, "admin", false)]
    {
        let own = JwtAuthenticator::builder().issuer(ISSUER).audience("stageflow").clock(Wall::new());
        let own = own.key(public_key(JwtAlgorithm::Hs256)).build().expect("a verifier");
        let other = JwtAuthenticator::builder().issuer(issuer).audience(audience).clock(Wall::new());
        let other = other.key(public_key(JwtAlgorithm::EdDsa)).build().expect("a verifier");
        let shown = Credentials::bearer(token(JwtAlgorithm::Hs256, json!({})));
        let admitted = Authenticate::new(own).admit(&shown).await.expect("it is good");
        let engine = Engine::builder().interceptor(Authenticate::new(other)).build().expect("an engine");
        let done = within(engine.run(&one, ()).with(|snapshot| admitted.apply(snapshot))).await;
        assert_eq!(done.is_ok(), let_through, "{issuer} {audience}");
    }
}
