//! What a principal may do, and for which tenant.

use super::*;

async fn guarded(
    guard: impl FnOnce(TenantGuard<Keys>) -> TenantGuard<Keys>,
    tenant: Option<&'static str>,
) -> Seen {
    let auth = Authenticate::new(keys(Does::Know));
    let guard = guard(TenantGuard::new(&auth));
    run_all(1, auth, Some(guard), |run| match tenant {
        Some(tenant) => good(run).tenant(tenant),
        None => good(run),
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_run_is_for_the_tenant_and_the_user_of_its_principal() {
    for (set, denied) in [
        ((|run| good(run).tenant("acme").user("ada")) as fn(Run) -> Run, None),
        (|run| good(run).tenant("globex"), Some(AuthReason::TenantMismatch)),
        (|run| good(run).tenant(""), Some(AuthReason::TenantMismatch)),
        (|run| good(run).user("root"), Some(AuthReason::UserMismatch)),
    ] {
        let seen = run(Authenticate::new(keys(Does::Know)), set).await;
        match denied {
            Some(reason) => {
                assert!(seen.is_denied(reason), "{seen:?}");
                assert!(seen.fields("auth.accepted", "principal").is_empty());
            }
            None => assert_eq!(seen.outcome, RunOutcome::Completed),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_guard_wants_a_tenant_that_is_allowed() {
    let seen = guarded(|guard| guard, Some("acme")).await;
    assert_eq!((seen.outcome, seen.ran), (RunOutcome::Completed, 1));
    let seen = guarded(|guard| guard.allow(["globex"]).allow(["acme"]), Some("acme")).await;
    assert_eq!(seen.outcome, RunOutcome::Completed);
    let seen = guarded(|guard| guard.allow_organisations(["acme inc"]), Some("acme")).await;
    assert_eq!(seen.outcome, RunOutcome::Completed);

    let seen = guarded(|guard| guard, None).await;
    assert!(seen.is_denied(AuthReason::NoTenant), "{seen:?}");
    assert_eq!(seen.fields("tenant.denied", "principal"), ["ada"]);
    let seen = guarded(|guard| guard.allow(["globex"]), Some("acme")).await;
    assert!(seen.is_denied(AuthReason::TenantNotAllowed), "{seen:?}");
    let seen = guarded(|guard| guard.allow::<&str>([]), Some("acme")).await;
    assert!(seen.is_denied(AuthReason::TenantNotAllowed), "{seen:?}");
    let seen = guarded(|guard| guard.allow_organisations(["globex inc"]), Some("acme")).await;
    assert!(seen.is_denied(AuthReason::OrganisationNotAllowed), "{seen:?}");
}

/// A guard whose authentication stands around nothing lets nobody through that it would not have.
#[tokio::test(start_paused = true)]
async fn the_guard_stands_alone_as_well() {
    for (does, denied) in [
        (Does::Know, None),
        (Does::Fail, Some(AuthReason::Unavailable)),
        (Does::Panic, Some(AuthReason::Panicked)),
        (Does::Hang, Some(AuthReason::TimedOut)),
    ] {
        let guard = TenantGuard::new(&Authenticate::new(keys(does)));
        let seen = run_all(1, guard, None, |run| good(run).tenant("acme")).await;
        match denied {
            Some(reason) => assert!(seen.is_denied(reason), "{seen:?}"),
            None => assert_eq!(seen.outcome, RunOutcome::Completed),
        }
        let guard = TenantGuard::new(&Authenticate::new(keys(does)));
        let seen = run_all(1, guard, None, |run| run.tenant("acme")).await;
        assert!(seen.is_denied(AuthReason::Missing), "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn scopes_are_required_everywhere_by_kind_and_by_stage() {
    type Require = fn(Authenticate<Keys>) -> Authenticate<Keys>;
    for (require, runs) in [
        ((|auth| auth.require("read").require("run")) as Require, true),
        (|auth| auth.require("read").require("write"), false),
        (|auth| auth.require("re"), false),
        (|auth| auth.require_for(StageKind::Work, "run"), true),
        (|auth| auth.require_for(StageKind::Agent, "write"), true),
        (|auth| auth.require_for(StageKind::Work, "write"), false),
        (|auth| auth.require_at("work-0", "run"), true),
        (|auth| auth.require_at("work-9", "write"), true),
        (|auth| auth.require_at("work-0", "write"), false),
    ] {
        let seen = run(require(Authenticate::new(keys(Does::Know))), good).await;
        if runs {
            assert_eq!((seen.outcome, seen.ran), (RunOutcome::Completed, 1));
        } else {
            assert!(seen.is_denied(AuthReason::ScopeMissing), "{seen:?}");
            assert!(seen.fields("auth.denied", "principal").iter().all(|who| who == "ada"));
        }
    }
}
