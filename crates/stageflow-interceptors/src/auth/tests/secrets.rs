//! The secret is nowhere: not in events, not in errors, not in what is printed.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_secret_is_printed_nowhere() {
    for does in [Does::Know, Does::Panic, Does::Fail, Does::Hang] {
        let auth = Authenticate::new(keys(does));
        let seen =
            run_all(2, auth.clone(), Some(TenantGuard::new(&auth)), |run| good(run).tenant("acme")).await;
        assert_eq!(seen.outcome == RunOutcome::Completed, does == Does::Know);
        assert!(!seen.text.contains(GOOD), "{}", seen.text);
        assert!(!format!("{auth:?} {:?}", TenantGuard::new(&auth)).contains(GOOD));
        // The text does hold what the authenticator has to say.
        assert_eq!(seen.text.contains("the directory does not answer"), does == Does::Fail);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_an_admission_holds_no_secret() {
    let shown = Credentials::bearer(GOOD);
    let error = Authenticate::new(keys(Does::Fail)).admit(&shown).await.unwrap_err();
    assert!(!format!("{error} {error:?} {shown} {shown:?} {shown:#?}").contains(GOOD));
    let admitted = Authenticate::new(keys(Does::Know)).admit(&shown).await.unwrap();
    assert!(!format!("{admitted:?}").contains(GOOD));
}

#[test]
fn secrets_are_compared_whole() {
    let shown = Credentials::bearer("abc");
    for (other, same) in [("abc", true), ("ab", false), ("abcd", false), ("", false), ("abd", false)] {
        assert_eq!(shown.matches(other), same, "{other}");
    }
}
