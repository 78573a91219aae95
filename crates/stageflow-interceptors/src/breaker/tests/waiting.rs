//! Waiting while it is open, instead of being rejected.

use super::{
    super::{BreakerState, Forced},
    running::{Does, World, until},
    touchy,
};
use stageflow_core::{DurationExt, ErrorClass, code};
use tokio::time::{Instant, advance};

const DOWN: Does = Does::Fail(ErrorClass::Transient);

/// What the engine says about its runs.
fn says(world: &World) -> String {
    world.engine.explain().iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn a_stage_waits_until_it_may_probe() {
    let breaker = touchy().wait_while_open(15.secs()).build().unwrap();
    let world = World::new(&breaker);
    let _failed = world.run(DOWN).await;
    let began = Instant::now();
    assert!(world.run(Does::Answer).await.is_ok());
    assert_eq!(breaker.snapshot()[0].totals.rejected, 0);
    let waited = began.elapsed();
    assert!(waited >= 10.secs() && waited < 11.secs(), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_cannot_help_is_not_begun() {
    let world = World::new(&touchy().wait_while_open(5.secs()).build().unwrap());
    let _failed = world.run(DOWN).await;
    let began = Instant::now();
    assert_eq!(world.run(Does::Answer).await.unwrap_err().code(), code::BREAKER_OPEN);
    assert_eq!(began.elapsed(), 0.secs());
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_woken_when_an_operator_lets_it_and_says_what_it_waits_for() {
    let breaker = touchy().wait_while_open(3_600.secs()).build().unwrap();
    let key = breaker.key(Some(&"acme".into()));
    let world = World::new(&breaker);
    breaker.force(&key, Forced::Open);
    let began = Instant::now();
    let release = async {
        until(|| says(&world).contains("waits for the breaker `search/acme`")).await;
        advance(7.secs()).await;
        breaker.release(&key);
    };
    let (done, ()) = tokio::join!(world.run(Does::Answer), release);
    assert!(done.is_ok());
    assert_eq!(began.elapsed(), 7.secs());
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_an_operator_ends() {
    let breaker = touchy().wait_while_open(30.secs()).build().unwrap();
    let key = breaker.key(Some(&"acme".into()));
    breaker.force(&key, Forced::Open);
    let began = Instant::now();
    let error = World::new(&breaker).run(Does::Answer).await.unwrap_err();
    assert_eq!((error.code(), began.elapsed().as_secs()), (code::BREAKER_OPEN, 30));
}

/// Many wait for one probe that takes a while: when it has succeeded, all go on at once.
#[tokio::test(start_paused = true)]
async fn all_who_wait_go_on_when_it_closes() {
    let breaker = touchy().probes(1).wait_while_open(60.secs()).build().unwrap();
    let world = World::new(&breaker);
    let _failed = world.run(DOWN).await;
    let began = Instant::now();
    let run = || world.run(Does::TakeLong(2));
    let done = tokio::join!(run(), run(), run(), run());
    assert!([done.0, done.1, done.2, done.3].iter().all(Result::is_ok));
    assert_eq!(began.elapsed().as_secs(), 14, "10 s open, 2 s for the probe, 2 s for the others");
    assert_eq!(breaker.snapshot()[0].state, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_takes_the_slot_of_a_probe_that_was_dropped() {
    let breaker = touchy().probes(1).wait_while_open(60.secs()).build().unwrap();
    let world = World::new(&breaker);
    let _failed = world.run(DOWN).await;
    advance(10.secs()).await;
    let began = Instant::now();
    let hung = world.engine.run(&world.pipeline, Does::Hang).tenant("acme").start();
    until(|| world.calls() == 2).await;
    let cancel = async {
        until(|| says(&world).contains("waits for the breaker `search/acme`")).await;
        hung.cancel("seen enough");
    };
    let (done, ()) = tokio::join!(world.run(Does::Answer), cancel);
    assert!(done.is_ok());
    assert_eq!(began.elapsed(), 0.secs());
}

/// What has no time to wait fails as rejected, and not as timed out.
#[tokio::test(start_paused = true)]
async fn nobody_waits_beyond_the_time_of_the_stage() {
    let breaker = touchy().wait_while_open(60.secs()).build().unwrap();
    let world = World::with(&breaker, |engine| engine, |settings| settings.timeout = Some(5));
    let _failed = world.run(DOWN).await;
    let began = Instant::now();
    assert_eq!(world.run(Does::Answer).await.unwrap_err().code(), code::BREAKER_OPEN);
    assert_eq!(began.elapsed(), 0.secs());
}
