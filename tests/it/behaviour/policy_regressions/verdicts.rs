//! §18.6: what an interceptor says instead of the stage is what it has said.

use stageflow::{
    ErrorClass, RunOutcome, code,
    interceptors::{AuthError, Authenticate, Authenticator, Credentials, Fallback, Principal},
    prelude::*,
};

use super::super::kit::{Log, error_of, exits, gives, logging, never, pipeline, recorded};

struct Keys;

impl Authenticator for Keys {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Principal, AuthError> {
        if credentials.matches("right") {
            Ok(Principal::builder("ada").build())
        } else {
            Err(AuthError::invalid("no such key"))
        }
    }
}

/// Without a token, and with a wrong one: nothing runs, and nothing comes out.
#[tokio::test(start_paused = true)]
async fn item_177_a_missing_token_denies_w10() {
    let log = Log::default();
    let guarded = pipeline(|p| {
        p.intercept(Authenticate::new(Keys));
        let first = p
            .stage(
                "first",
                logging(&log, |log, _| async move {
                    log.add("ran");
                    Ok(())
                }),
            )
            .inputs(());
        p.stage("only", gives(1_u32)).after(first).inputs(())
    });
    for token in [None, Some("wrong")] {
        let run = guarded.run(());
        let run = match token {
            Some(token) => run.extension(Credentials::bearer(token)),
            None => run,
        };
        let error = error_of(run).await;
        assert_eq!((error.outcome(), error.code()), (Some(RunOutcome::Denied), code::DENIED), "{token:?}");
        assert!(log.lines().is_empty(), "{token:?}");
    }
    guarded.run(()).extension(Credentials::bearer("right")).await.expect("it is let in");
    assert_eq!(log.lines(), ["ran"]);
}

/// An answer in place of a failure is said to be one, and a verdict has none.
#[tokio::test(start_paused = true)]
async fn item_186_a_failure_is_never_turned_into_an_output_silently_w11() {
    let all = [ErrorClass::Denied, ErrorClass::Invalid, ErrorClass::Unclassified, ErrorClass::Timeout];
    let ends: [(fn() -> StageExit, bool); 5] = [
        (|| StageExit::fail("x"), true),
        (|| StageExit::fail("x").class(ErrorClass::Invalid), false),
        (|| StageExit::deny("x"), false),
        (|| StageExit::cancel("x"), false),
        (|| StageExit::skip("x"), false),
    ];
    for (end, answered) in ends {
        let (engine, recorder) = recorded();
        let fallback = Fallback::value(7_u32).on(all);
        let ends = pipeline(|p| p.stage("only", exits(end)).intercept(fallback).inputs(()));
        let run = engine.run(&ends, ()).await.ok().map(|run| *run.output());
        assert_eq!(run, answered.then_some(7), "{:?}", end());
        let told = recorder.lines().contains(&"fallback.used only".to_owned());
        assert_eq!(told, answered, "{:?}", end());
    }
    // A timeout of an attempt as well as a failure that is returned.
    let (engine, recorder) = recorded();
    let late = pipeline(|p| {
        let late = p.stage("only", never()).attempt_timeout(5.millis()).intercept(Fallback::value(7_u32));
        late.inputs(())
    });
    assert_eq!(*engine.run(&late, ()).await.expect("it is answered").output(), 7);
    assert!(recorder.lines().contains(&"fallback.used only".to_owned()));
}

/// A fallback that panics or fails is no answer, and the next one outside is asked.
#[tokio::test(start_paused = true)]
async fn item_159_who_breaks_while_asked_leaves_the_answer_to_the_next() {
    for panics in [true, false] {
        let broken = Fallback::to(move |_, _, _| async move {
            assert!(!panics, "on purpose");
            StageResult::<u32>::Err(StageExit::fail("broken as well"))
        });
        let answers = |outer: Option<u32>| {
            let broken = broken.clone();
            pipeline(|p| {
                if let Some(value) = outer {
                    let all = [ErrorClass::Unclassified, ErrorClass::Panic];
                    p.intercept(Fallback::value(value).on(all));
                }
                p.stage("only", exits(|| StageExit::fail("x"))).intercept(broken).inputs(())
            })
        };
        assert_eq!(*answers(Some(9)).run(()).await.expect("it is answered").output(), 9, "{panics}");
        let error = error_of(answers(None).run(())).await;
        let message = error.failure().expect("of the stage").message();
        assert!(message.contains('x'), "by default it stays a failure, and says of what: {message}");
    }
}

/// Asked when the attempts are used up, it is not the same as a failure.
#[tokio::test(start_paused = true)]
async fn item_163_a_fallback_is_not_a_failure_w12() {
    let fails = || exits(|| StageExit::fail("down").class(ErrorClass::Transient));
    let plain = pipeline(|p| p.stage("only", fails()).inputs(()));
    assert!(plain.run(()).await.is_err());
    let safe = pipeline(|p| {
        let retry = stageflow::interceptors::Retry::constant(1.secs()).no_jitter();
        p.stage("only", fails()).retry(retry).intercept(Fallback::value(7_u32)).inputs(())
    });
    let run = safe.run(()).await.expect("it is answered");
    assert_eq!((*run.output(), run.report().stage("only").expect("the stage").attempts), (7, 3));
}
