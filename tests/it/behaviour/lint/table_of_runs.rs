//! More of the table: budgets, times, admission and rules for failures.

use stageflow::{
    BackpressureMonitor, Budget, EngineBuilder, FailurePolicy, FailureRules, Lint, LintReport, prelude::*,
};

use super::{
    super::kit::{never, sum},
    each_second, lint, lint_in,
    table::{Case, amplified, calls, time},
    unlimited,
};

/// One stage, `only`, with its own settings.
macro_rules! only {
    ($p:ident $(.$set:ident($($value:expr),*))*) => {
        $p.stage("only", never())$(.$set($($value),*))*.inputs(())
    };
}

pub(super) fn cases() -> Vec<Case> {
    of_budgets().into_iter().chain(of_times()).chain(of_runs()).collect()
}

fn of_budgets() -> Vec<Case> {
    vec![
        amplified(Lint::AttemptsAboveBudget, 11, |bad| {
            lint(|p| only!(p.retry(each_second(if bad { 12 } else { 11 }))))
        }),
        amplified(Lint::AttemptsAboveBudget, 11, |bad| {
            let engine = if bad { Engine::builder() } else { unlimited() };
            lint_in(engine, |p| only!(p.retry(each_second(50))))
        }),
        Case {
            time: Some(32.secs()),
            ..amplified(Lint::AttemptsAboveBudget, 3, |bad| {
                lint(|p| {
                    p.budget(Budget::new().retries(0.0, if bad { 2 } else { 3 }));
                    only!(p.retry(each_second(4)).attempt_timeout(10.secs()))
                })
            })
        },
        // More of them than there is time for are not asked for.
        amplified(Lint::AttemptsAboveBudget, 11, |bad| {
            let most = each_second(50).max_elapsed(if bad { 11 } else { 10 }.secs());
            lint(|p| only!(p.retry(most)))
        }),
        calls(Lint::CostAboveBudget, 2, |bad| {
            lint(|p| {
                p.budget(Budget::new().cost(if bad { 599 } else { 600 }));
                only!(p.cost(200).retry(each_second(3)))
            })
        }),
        // By default twenty-five stages and their sum have fifteen retries.
        calls(Lint::CostAboveBudget, 39, |bad| {
            let engine = Engine::builder().budget(Budget::new().cost(if bad { 399 } else { 400 }));
            lint_in(engine, |p| {
                let all = p.parallel("s", 0..25, |_| never()).cost(10).retry(each_second(3)).inputs(());
                p.stage("sum", sum()).inputs(all)
            })
        }),
        // Of three stages that have ten retries together two make twelve attempts, and not eight each.
        calls(Lint::CostAboveBudget, 11, |bad| {
            lint(|p| {
                p.budget(Budget::new().cost(if bad { 1_199 } else { 1_200 }));
                let one = only!(p.cost(100).retry(each_second(8)));
                let other = p.stage("other", never()).cost(100).retry(each_second(8)).inputs(());
                p.stage("sum", sum()).inputs(vec![one, other])
            })
        }),
        // The dearest first: at worst the cheap one is not paid for.
        calls(Lint::CostAboveBudget, 2, |bad| {
            lint(|p| {
                p.budget(Budget::new().cost(if bad { 299 } else { 305 }));
                let cheap = only!(p.cost(5));
                let dear = p.stage("dear", never()).cost(100).retry(each_second(3)).inputs(());
                p.stage("sum", sum()).inputs(vec![cheap, dear])
            })
        }),
    ]
}

fn of_times() -> Vec<Case> {
    vec![
        time(Lint::IdleOutlastsAttempt, 5.secs(), |bad| {
            let idle = if bad { 5 } else { 4 };
            lint(|p| only!(p.idle_timeout(idle.secs()).attempt_timeout(5.secs())))
        }),
        time(Lint::IdleOutlastsAttempt, 5.secs(), |bad| {
            lint(|p| {
                p.deadline(5.secs()).idle_timeout(if bad { 6 } else { 4 }.secs());
                only!(p)
            })
        }),
        time(Lint::IdleOutlastsAttempt, 5.secs(), |bad| {
            let engine = Engine::builder().idle_timeout(if bad { 5 } else { 4 }.secs());
            lint_in(engine.attempt_timeout(5.secs()), |p| only!(p))
        }),
        time(Lint::TooLittleTime, 5.secs(), |bad| {
            let engine = Engine::builder().attempt_timeout(5.secs());
            lint_in(engine, |p| only!(p.min_time(if bad { 6 } else { 5 }.secs())))
        }),
        time(Lint::TooLittleTime, 5.secs(), |bad| {
            let engine = Engine::builder().stage_timeout(5.secs());
            lint_in(engine, |p| only!(p.min_time(if bad { 6 } else { 5 }.secs())))
        }),
        // A stage that the output does not need is no error of its pipeline.
        time(Lint::TooLittleTime, 5.secs(), |bad| {
            lint(|p| {
                p.deadline(5.secs());
                let _aside = p.stage("aside", never()).min_time(if bad { 6 } else { 5 }.secs()).inputs(());
                only!(p)
            })
        }),
        time(Lint::AttemptOutlastsStage, 5.secs(), |bad| {
            let engine = Engine::builder().attempt_timeout(if bad { 5 } else { 4 }.secs());
            lint_in(engine.stage_timeout(5.secs()), |p| only!(p))
        }),
    ]
}

fn monitored(timeout: Option<u64>) -> EngineBuilder {
    let monitor = BackpressureMonitor::builder().queue_limit(7);
    let monitor = timeout.into_iter().fold(monitor, |monitor, secs| monitor.queue_timeout(secs.secs()));
    Engine::builder().backpressure(monitor.build().expect("a monitor"))
}

fn ruled(rules: FailureRules) -> LintReport {
    lint(|p| {
        p.on_failure(rules);
        only!(p)
    })
}

fn of_runs() -> Vec<Case> {
    vec![
        time(Lint::QueueOutlastsDeadline, 5.secs(), |bad| {
            lint_in(monitored(Some(if bad { 5 } else { 4 })), |p| {
                p.deadline(5.secs());
                only!(p)
            })
        }),
        calls(Lint::EndlessQueue, 7, |bad| {
            lint_in(monitored(if bad { None } else { Some(60) }), |p| only!(p))
        }),
        calls(Lint::EndlessQueue, 7, |bad| {
            lint_in(monitored(None), |p| {
                if !bad {
                    p.deadline(60.secs());
                }
                only!(p)
            })
        }),
        calls(Lint::UnreachableFailureRule, 1, |bad| {
            let policy = if bad { FailurePolicy::FailFast } else { FailurePolicy::Continue };
            ruled(FailureRules::new(policy).max_failures(0))
        }),
        calls(Lint::UnreachableFailureRule, 1, |bad| {
            let policy = if bad { FailurePolicy::TolerateCount(0) } else { FailurePolicy::TolerateCount(1) };
            ruled(FailureRules::new(policy).abort_if(|_| true))
        }),
        calls(Lint::UnreachableFailureRule, 1, |bad| {
            let samples = if bad { 2 } else { 1 };
            ruled(FailureRules::new(FailurePolicy::Continue).tolerate_percent_of_ended(50.0, samples))
        }),
    ]
}
