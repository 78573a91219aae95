//! Who is let in, who waits and who is refused, quota by quota.

use std::time::Duration;

use stageflow::{
    BackpressureMonitor, CancelCause, QuotaKind, RunOutcome, TenantQuotas, WaitReason, code,
    interceptors::{AuthError, Authenticate, Authenticator, Credentials, Principal},
    prelude::*,
};

use super::{
    super::{
        child::parent_of,
        kit::{Gauge, error_of, gives, idle, naps, never, pipeline, report_of, solo, within},
    },
    after, at_rest, engine, told, usage,
};
use stageflow::Quota;

#[tokio::test(start_paused = true)]
async fn s_11_a_tenant_above_its_runs_is_refused_and_another_is_not() {
    let (engine, recorder, _) = engine(Quota::concurrent_runs(2));
    let slow = solo(naps(10.millis(), 1));
    let running: Vec<_> = (0..2).map(|_| engine.run(&slow, ()).tenant("acme").start()).collect();
    let error = error_of(engine.run(&slow, ()).tenant("acme")).await;
    assert_eq!((error.code(), error.outcome(), error.recoverable()), (code::QUOTA_EXCEEDED, None, true));
    assert_eq!(
        error.to_string(),
        "`solo` was not started: tenant `acme`: 2 of 2 runs at a time [QUOTA_EXCEEDED]"
    );
    assert!(error.hint().is_some_and(|hint| hint.contains("raise the quota")));
    let quota = error.quota().expect("it is why");
    assert_eq!((quota.quota, quota.limit, quota.used), (QuotaKind::ConcurrentRuns, 2, 2));
    assert_eq!(quota.retry_after, None, "nobody knows when a run ends");
    within(engine.run(&slow, ()).tenant("other")).await.expect("it has a quota of its own");
    for run in running {
        within(run).await.expect("it was let in");
    }
    assert_eq!(told(&recorder), Vec::<String>::new(), "no event tells of a run that was never started");
    let acme = at_rest(&engine, "acme");
    assert_eq!((acme.offered, acme.admitted, acme.refused[&QuotaKind::ConcurrentRuns]), (3, 2, 1));
    within(engine.run(&slow, ()).tenant("acme")).await.expect("there is room again");
}

#[tokio::test(start_paused = true)]
async fn runs_without_a_tenant_are_one() {
    let (engine, ..) = engine(TenantQuotas::new(Quota::concurrent_runs(1)).with("acme", Quota::new()));
    let running = engine.start(&solo(never()), ());
    let error = error_of(engine.run(&solo(gives(1)), ())).await;
    assert!(error.to_string().contains("the runs without a tenant: 1 of 1 runs at a time"), "{error}");
    assert_eq!(usage(&engine, "").runs, 1);
    for _ in 0..3 {
        engine.run(&solo(never()), ()).tenant("acme").start().detach();
    }
    assert_eq!((usage(&engine, "acme").runs, engine.tenant_usages().len()), (3, 2));
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn child_runs_are_part_of_their_run() {
    let (engine, ..) = engine(Quota::concurrent_runs(1).runs_per(1, 1.hours()));
    let nested = parent_of(parent_of(solo(gives(7))));
    assert_eq!(*within(engine.run(&nested, ())).await.expect("one run").output(), 7);
    assert_eq!(at_rest(&engine, "").admitted, 1);
}

/// Those who wait are let in in the order in which they came, and what they wait for is seen.
#[tokio::test(start_paused = true)]
async fn s_11_runs_that_may_wait_go_in_order() {
    let (engine, recorder, _) = engine(Quota::concurrent_runs(1).wait_up_to(1.secs()).max_waiting(3));
    let slow = solo(naps(10.millis(), 1));
    let mut runs: Vec<_> = (0..4).map(|_| engine.run(&slow, ()).tenant("acme").start()).collect();
    idle().await;
    for (ahead, run) in runs[1..].iter().enumerate() {
        let explained = run.explain().expect("it is a run");
        let expected = WaitReason::Quota { quota: QuotaKind::ConcurrentRuns, ahead };
        assert_eq!(explained.reason("only"), Some(&expected));
    }
    assert_eq!((usage(&engine, "acme").runs, usage(&engine, "acme").waiting), (1, 3));
    let error = error_of(engine.run(&slow, ()).tenant("acme")).await;
    assert_eq!((error.code(), error.outcome()), (code::QUOTA_EXCEEDED, None), "the queue is full");
    for (n, run) in runs.drain(..).enumerate() {
        let report = within(run).await.expect("its turn comes").report();
        assert_eq!(report.queued(), Duration::from_millis(10 * n as u64), "in order");
        assert_eq!(report.duration(), Duration::from_millis(10 * (n as u64 + 1)), "the wait counts");
    }
    let told = told(&recorder);
    assert_eq!(told[0], "quota.waiting quota=concurrent_runs used=1 limit=1 ahead=0");
    assert_eq!(told[3..], ["10", "20", "30"].map(|ms| format!("quota.admitted waited_ns={ms}000000")));
    assert_eq!(at_rest(&engine, "acme").admitted, 4);
}

/// A run that waits in vain is a run: its report says that nothing of it has begun.
#[tokio::test(start_paused = true)]
async fn a_wait_in_vain_ends_the_run() {
    let (engine, recorder, _) = engine(Quota::concurrent_runs(1).wait_up_to(20.millis()));
    let running = engine.run(&solo(never()), ()).tenant("acme").start();
    let error = error_of(engine.run(&solo(gives(1)), ()).tenant("acme")).await;
    assert_eq!((error.code(), error.outcome()), (code::QUOTA_EXCEEDED, Some(RunOutcome::Cancelled)));
    assert!(error.recoverable());
    let exceeded = error.quota().expect("it is why").clone();
    assert_eq!((exceeded.waited, exceeded.used), (after(20), 1));
    let report = error.report().expect("it was started");
    assert_eq!(report.cancelled(), Some(CancelCause::Quota(Box::new(exceeded))));
    assert_eq!((report.queued(), report.stage("only").unwrap().attempts), (20.millis(), 0));
    assert_eq!(told(&recorder)[1], "tenant.quota_exceeded quota=concurrent_runs used=1 limit=1");
    drop(running);
    idle().await;
    assert_eq!(at_rest(&engine, "acme").refused_in_all(), 1);
}

/// A deadline ends the wait as it ends everything.
#[tokio::test(start_paused = true)]
async fn s_15_a_deadline_ends_the_wait() {
    let (engine, ..) = engine(Quota::concurrent_runs(1).wait_up_to(1.secs()));
    let running = engine.start(&solo(never()), ());
    let error = error_of(engine.run(&solo(gives(1)), ()).deadline(5.millis())).await;
    assert_eq!(error.code(), code::DEADLINE_EXCEEDED);
    assert_eq!(error.report().unwrap().duration(), 5.millis());
    assert_eq!(usage(&engine, "").gave_up, 1);
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_runs_says_when_to_come_again() {
    let (engine, ..) = engine(Quota::new().runs_per(10, 1.secs()).burst(2));
    let quick = solo(gives(1));
    for _ in 0..2 {
        within(engine.run(&quick, ()).tenant("acme")).await.expect("within the burst");
    }
    let error = error_of(engine.run(&quick, ()).tenant("acme")).await;
    let quota = error.quota().expect("it is why");
    assert_eq!((quota.quota, quota.retry_after), (QuotaKind::RunRate, after(100)));
    // sleeps: on paused time
    tokio::time::sleep(99.millis()).await;
    assert_eq!(error_of(engine.run(&quick, ()).tenant("acme")).await.quota().unwrap().retry_after, after(1));
    // sleeps: on paused time
    tokio::time::sleep(1.millis()).await;
    within(engine.run(&quick, ()).tenant("acme")).await.expect("it came when it was told to");
}

#[tokio::test(start_paused = true)]
async fn runs_that_wait_for_a_rate_go_evenly_and_the_rest_is_refused_at_once() {
    let (engine, ..) = engine(Quota::new().runs_per(10, 1.secs()).burst(1).wait_up_to(250.millis()));
    let quick = solo(gives(1));
    let runs: Vec<_> = (0..3).map(|_| engine.run(&quick, ()).tenant("acme").start()).collect();
    let error = error_of(engine.run(&quick, ()).tenant("acme")).await;
    assert_eq!(error.outcome(), None, "300 ms would be too long");
    for (n, run) in (0..).zip(runs) {
        assert_eq!(within(run).await.expect("its turn comes").report().queued(), (100 * n).millis());
    }
}

/// What runs cost is charged to the window that they begin in: who has nothing left is not let in, and who runs out of it fails.
#[tokio::test(start_paused = true)]
async fn cost_is_charged_to_the_window_of_the_tenant() {
    let (engine, recorder, _) = engine(Quota::new().cost_per(100, 1.secs()));
    let charged = |cost: u64| {
        let charge = move |ctx: StageContext, (): ()| {
            std::future::ready(ctx.budget().charge(cost).map_err(Into::into).map(|()| cost))
        };
        solo(stage_fn(charge))
    };
    let acme = |cost: u64| engine.run(&charged(cost), ()).tenant("acme");
    // A child run pays as its parent does.
    let nested = engine.run(&parent_of(charged(60)), ()).tenant("acme");
    let half = within(nested).await.expect("there is so much");
    assert_eq!(half.report().budget().expect("it was asked for").cost_spent, 60);
    let error = error_of(acme(60)).await;
    assert_eq!((error.code(), error.outcome()), (code::QUOTA_EXCEEDED, Some(RunOutcome::Failed)));
    assert!(error.recoverable(), "the window comes to its end");
    let message = error.failure().expect("a stage failed").message();
    assert_eq!(message, "a cost of 60 is above the 40 that are left of its tenant's quota");
    assert_eq!(told(&recorder), ["tenant.quota_exceeded quota=cost used=60 limit=100"]);
    within(acme(40)).await.expect("there is so much");
    // sleeps: on paused time
    tokio::time::sleep(400.millis()).await;
    let error = error_of(acme(1)).await;
    assert_eq!((error.code(), error.outcome()), (code::QUOTA_EXCEEDED, None));
    assert_eq!(error.quota().unwrap().retry_after, after(600));
    let left = usage(&engine, "acme");
    assert_eq!((left.cost_spent, left.cost_reserved, left.window_left), (100, 0, after(600)));
    within(engine.run(&charged(100), ()).tenant("other")).await.expect("another has its own");
    // sleeps: on paused time
    tokio::time::sleep(600.millis()).await;
    within(acme(100)).await.expect("another window has begun");
}

/// What is reserved while a run goes on counts, and what was not spent comes back.
#[tokio::test(start_paused = true)]
async fn what_is_reserved_counts_while_it_is() {
    let (engine, ..) = engine(Quota::new().cost_per(100, 1.hours()));
    let reserves = pipeline(|p| {
        let call = |ctx: StageContext, (): ()| async move {
            // sleeps: on paused time
            tokio::time::sleep(10.millis()).await;
            assert!(ctx.budget().settle(1));
            Ok(1)
        };
        p.stage("call", stage_fn(call)).cost(100).inputs(())
    });
    let first = engine.run(&reserves, ()).tenant("acme").start();
    idle().await;
    assert_eq!(usage(&engine, "acme").cost_reserved, 100);
    assert_eq!(error_of(engine.run(&reserves, ()).tenant("acme")).await.code(), code::QUOTA_EXCEEDED);
    within(first).await.expect("it can afford it");
    assert_eq!((usage(&engine, "acme").cost_spent, usage(&engine, "acme").cost_reserved), (1, 0));
}

/// Stages of all runs of a tenant together, those of child runs included, and of no other tenant.
#[tokio::test(start_paused = true)]
async fn s_11_stages_in_flight_wait_for_their_turn() {
    let (engine, _, quotas) = engine(Quota::new().stages_in_flight(2));
    let (gauge, others) = (Gauge::default(), Gauge::default());
    let wide = |gauge: &Gauge| {
        let gauge = gauge.clone();
        pipeline(move |p| {
            let all = p.parallel("s", 0..4, |_| gauge.stage(10.millis())).inputs(());
            p.stage("sum", stage_fn(|_, all: Vec<std::sync::Arc<u32>>| async move { Ok(all.len()) }))
                .inputs(all)
        })
    };
    let nested = parent_of(wide(&gauge));
    let runs: Vec<_> = (0..2).map(|_| engine.run(&nested, ()).tenant("acme").start()).collect();
    let plain = engine.run(&wide(&gauge), ()).tenant("acme").start();
    let other = engine.run(&wide(&others), ()).tenant("other").start();
    idle().await;
    assert_eq!((gauge.now(), usage(&engine, "acme").stages_in_flight), (2, 2));
    let explained = plain.explain().expect("it is a run");
    let permit = WaitReason::Permit { limit: "tenant", key: Some("acme".into()) };
    assert_eq!(explained.waits().iter().filter(|it| it.reason == permit).count(), 4);
    // Changed while they run.
    quotas.set("acme", Quota::new().stages_in_flight(5));
    idle().await;
    assert_eq!(gauge.now(), 5);
    quotas.set("acme", Quota::new().stages_in_flight(1));
    // sleeps: on paused time
    tokio::time::sleep(25.millis()).await;
    assert_eq!(gauge.now(), 1, "those above have left, and one at a time goes on");
    for run in runs.into_iter().chain([plain]) {
        within(run).await.expect("all come to their turn");
    }
    within(other).await.expect("it has its own");
    assert_eq!((gauge.most(), others.most()), (5, 2));
    at_rest(&engine, "acme");
}

/// A change counts at once, for those who wait too.
#[tokio::test(start_paused = true)]
async fn quotas_change_while_runs_wait() {
    let (engine, _, quotas) = engine(Quota::concurrent_runs(1).wait_up_to(1.secs()));
    let slow = solo(naps(100.millis(), 1));
    let runs: Vec<_> = (0..3).map(|_| engine.run(&slow, ()).tenant("acme").start()).collect();
    idle().await;
    quotas.set("acme", Quota::concurrent_runs(2).wait_up_to(1.secs()));
    idle().await;
    assert_eq!((usage(&engine, "acme").runs, usage(&engine, "acme").waiting), (2, 1));
    quotas.set("acme", Quota::concurrent_runs(0));
    assert_eq!(error_of(engine.run(&slow, ()).tenant("acme")).await.code(), code::QUOTA_EXCEEDED);
    quotas.unset("acme");
    quotas.set_default(Quota::new());
    for run in runs {
        assert!(within(run).await.expect("it is let in").report().queued() < 5.millis());
    }
    at_rest(&engine, "acme");
}

/// Quotas that are kept elsewhere are asked for, and those who wait look again when they are told to.
#[tokio::test(start_paused = true)]
async fn quotas_may_be_kept_elsewhere() {
    let plan = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(1));
    let kept = std::sync::Arc::clone(&plan);
    let quotas = TenantQuotas::new(Quota::new()).look_up(move |tenant| {
        let runs = kept.load(std::sync::atomic::Ordering::SeqCst);
        (tenant.as_str() == "acme").then(|| Quota::concurrent_runs(runs).wait_up_to(1.secs()))
    });
    let (engine, _, quotas) = engine(quotas);
    let runs: Vec<_> =
        (0..2).map(|_| engine.run(&solo(naps(9.millis(), 1)), ()).tenant("acme").start()).collect();
    idle().await;
    assert_eq!(usage(&engine, "acme").waiting, 1);
    plan.store(2, std::sync::atomic::Ordering::SeqCst);
    quotas.changed();
    idle().await;
    assert_eq!(usage(&engine, "acme").waiting, 0);
    for run in runs {
        within(run).await.expect("both are let in");
    }
}

/// Who waits for its tenant's quota takes no place of the monitor from others, and goes to the monitor after it.
#[tokio::test(start_paused = true)]
async fn the_quota_comes_before_the_monitor() {
    let monitor = BackpressureMonitor::builder().max_active(2).queue_limit(1).build().expect("a monitor");
    let quota = Quota::concurrent_runs(1).wait_up_to(1.secs());
    let engine =
        Engine::builder().tenant_quota(quota).backpressure(monitor.clone()).build().expect("an engine");
    let slow = solo(naps(10.millis(), 1));
    let noisy: Vec<_> = (0..5).map(|_| engine.run(&slow, ()).tenant("noisy").start()).collect();
    idle().await;
    let stats = monitor.stats();
    assert_eq!((stats.active, stats.queued, stats.offered), (1, 0, 1));
    assert_eq!(report_of(engine.run(&slow, ()).tenant("quiet")).await.queued(), Duration::ZERO);
    for (n, run) in (0..).zip(noisy) {
        assert_eq!(within(run).await.expect("its turn comes").report().queued(), (10 * n).millis());
    }
    assert_eq!((monitor.stats().active, monitor.stats().offered), (0, 6));
    // A monitor that is full when a run comes from its tenant's queue sheds it.
    let others: Vec<_> = ["a", "b"].map(|it| engine.run(&solo(never()), ()).tenant(it).start()).into();
    let first = engine.run(&slow, ()).tenant("noisy").start();
    let second = engine.run(&slow, ()).tenant("noisy").start();
    idle().await;
    let third = engine.run(&slow, ()).tenant("c").start();
    assert_eq!(error_of(third).await.code(), code::OVERLOADED);
    drop(first);
    idle().await;
    assert_eq!(usage(&engine, "noisy").runs, 1, "it is in, and waits for the monitor");
    drop(others);
    within(second).await.expect("its turn comes");
}

/// The key of nobody but `mallory` is wrong; everybody else is of the tenant that the key says.
struct Keys;

impl Authenticator for Keys {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Principal, AuthError> {
        if credentials.matches("acme") {
            Ok(Principal::builder("ada").tenant("acme").build())
        } else {
            Err(AuthError::invalid("no such key"))
        }
    }
}

/// Whose run it is, authentication says: nobody uses up the quota of somebody else, and who names no tenant uses their own.
#[tokio::test(start_paused = true)]
async fn s_20_the_quota_is_that_of_whom_authentication_lets_in() {
    let quota = Quota::concurrent_runs(1).stages_in_flight(1).runs_per(3, 1.hours());
    let engine =
        Engine::builder().interceptor(Authenticate::new(Keys)).tenant_quota(quota).tenant_max_in_flight(7);
    let engine = engine.build().expect("an engine");
    for _ in 0..5 {
        let run = engine.run(&solo(gives(1)), ()).tenant("acme").extension(Credentials::api_key("wrong"));
        assert_eq!(error_of(run).await.outcome(), Some(RunOutcome::Denied));
    }
    assert_eq!(usage(&engine, "acme").offered, 0, "an impostor uses nothing up");
    let mine = |time: u64| {
        let run = engine.run(&solo(naps(time.millis(), 1)), ());
        run.extension(Credentials::api_key("acme"))
    };
    let running = mine(10).start();
    idle().await;
    assert_eq!((usage(&engine, "acme").runs, usage(&engine, "acme").stages_in_flight), (1, 1));
    assert_eq!(usage(&engine, "").offered, 0);
    let error = error_of(mine(10)).await;
    assert_eq!((error.code(), error.outcome()), (code::QUOTA_EXCEEDED, Some(RunOutcome::Cancelled)));
    within(running).await.expect("it is let in");
    within(mine(10)).await.expect("there is room again");
    within(mine(10)).await.expect("a refusal does not count for the rate");
    assert_eq!(error_of(mine(10)).await.quota().map(|it| it.quota), Some(QuotaKind::RunRate));
    at_rest(&engine, "acme");
}

/// The limit of stages per tenant holds for whom authentication names as well.
#[tokio::test(start_paused = true)]
async fn s_20_stages_of_one_tenant_are_limited_though_only_authentication_knows_it() {
    let engine = Engine::builder().interceptor(Authenticate::new(Keys)).tenant_max_in_flight(2).build();
    let (engine, gauge) = (engine.expect("an engine"), Gauge::default());
    let slow = solo(gauge.stage(10.millis()));
    let mut runs: Vec<_> = (0..2)
        .map(|_| engine.run(&slow, ()).tenant("acme").extension(Credentials::api_key("acme")).start())
        .collect();
    runs.extend((0..2).map(|_| engine.run(&slow, ()).extension(Credentials::api_key("acme")).start()));
    for run in runs {
        within(run).await.expect("it is let in");
    }
    assert_eq!(gauge.most(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_engine_says_what_its_quotas_are() {
    let engine = Engine::builder().tenant_quota(Quota::concurrent_runs(20));
    let described = engine.build().expect("an engine").describe();
    assert!(described.to_string().contains("\n  quota of each tenant: 20 runs at a time\n"), "{described}");
    let without =
        Engine::builder().tenant_quota(Quota::concurrent_runs(0)).without_limits().build().expect("one");
    assert!(without.tenant_usage("acme").is_none() && without.tenant_usages().is_empty());
    within(without.run(&solo(gives(1)), ()).tenant("acme")).await.expect("there is no limit");
}
