//! For each lint a composition that goes wrong, its numbers, and one beside it that does not.

use std::{collections::BTreeSet, time::Duration};

use stageflow::{
    BuildError, Layer, Lint, LintReport, Placement, code,
    interceptors::{Fallback, Idempotency, InMemoryStore, Retry, RetryBudget, WhenFull},
    prelude::*,
};

use super::{
    super::kit::{gives, never, pipeline, sum},
    Placed, auth, breaker, bulkhead, each_second, lint, lint_in, quota, table_of_runs,
};

/// A composition that goes wrong, or with `false` its neighbour that does not.
type Composition = fn(bool) -> LintReport;

pub(super) struct Case {
    pub(super) lint: Lint,
    pub(super) of: Composition,
    pub(super) amplification: Option<u64>,
    pub(super) calls: Option<u64>,
    pub(super) time: Option<Duration>,
}

/// No numbers but these calls.
pub(super) fn calls(lint: Lint, calls: u64, of: Composition) -> Case {
    Case { lint, of, amplification: None, calls: Some(calls), time: None }
}

/// No numbers but this time.
pub(super) fn time(lint: Lint, time: Duration, of: Composition) -> Case {
    Case { lint, of, amplification: None, calls: None, time: Some(time) }
}

pub(super) fn amplified(lint: Lint, factor: u64, of: Composition) -> Case {
    Case { amplification: Some(factor), ..calls(lint, factor, of) }
}

/// One stage, `only`, with its own timeouts.
macro_rules! only {
    ($p:ident $(.$set:ident($($value:expr),*))*) => {
        $p.stage("only", never())$(.$set($($value),*))*.inputs(())
    };
}

fn of_retries() -> Vec<Case> {
    vec![
        Case {
            time: Some(98.secs()),
            ..amplified(Lint::NestedRetries, 9, |bad| {
                let engine = if bad { Engine::builder().retry(each_second(3)) } else { Engine::builder() };
                lint_in(engine, |p| only!(p.retry(each_second(3)).attempt_timeout(10.secs())))
            })
        },
        amplified(Lint::NestedRetries, 6, |bad| {
            let account = RetryBudget::default();
            lint(|p| {
                let (outer, inner) = (each_second(2), each_second(3));
                p.retry(if bad { outer } else { outer.budget(&account) });
                only!(p.retry(if bad { inner } else { inner.budget(&account) }))
            })
        }),
        amplified(Lint::RetryOfWork, 3, |bad| {
            let policy = if bad { each_second(3) } else { each_second(3).on([]) };
            lint(|p| only!(p.kind(StageKind::Work).retry(policy)))
        }),
        amplified(Lint::RetryOfWork, 3, |bad| {
            let kind = if bad { StageKind::Work } else { StageKind::Enrich };
            let once = Idempotency::new(InMemoryStore::new());
            lint(|p| only!(p.kind(kind).retry(each_second(3)).intercept(once)))
        }),
        Case {
            time: Some(65.secs()),
            ..amplified(Lint::ManyAttempts, 11, |bad| {
                let policy = each_second(if bad { 11 } else { 10 });
                lint(|p| only!(p.retry(policy).attempt_timeout(5.secs())))
            })
        },
        Case {
            time: Some(10.secs()),
            ..calls(Lint::UnreachableAttempts, 4, |bad| {
                let policy = Retry::exponential(1.secs()).no_jitter().max_attempts(10);
                let timeout = if bad { 10 } else { 600 };
                lint(|p| only!(p.retry(policy).timeout(timeout.secs())))
            })
        },
        calls(Lint::UnreachableAttempts, 3, |bad| {
            let policy = each_second(5).max_elapsed(if bad { 2 } else { 4 }.secs());
            lint(|p| only!(p.retry(policy)))
        }),
        Case {
            time: Some(33.secs()),
            ..calls(Lint::RetriesCutShort, 2, |bad| {
                let timeout = if bad { 20 } else { 60 };
                let policy = Retry::exponential(1.secs());
                lint(|p| only!(p.retry(policy).attempt_timeout(10.secs()).timeout(timeout.secs())))
            })
        },
        Case {
            time: Some(7.secs()),
            ..calls(Lint::RetriesCutShort, 3, |bad| {
                p_deadline(if bad { 5 } else { 10 }, Retry::exponential(1.secs()).max_attempts(4))
            })
        },
        time(Lint::HungAttempt, 30.secs(), |bad| {
            lint(|p| {
                p.deadline(30.secs());
                let only = p.stage("only", never()).retry(each_second(3));
                if bad { only.inputs(()) } else { only.attempt_timeout(5.secs()).inputs(()) }
            })
        }),
        Case {
            time: Some(1.secs()),
            ..calls(Lint::SynchronisedRetries, 500, |bad| {
                let policy = if bad { each_second(3) } else { each_second(3).full_jitter() };
                lint(|p| {
                    let all = p.parallel("s", 0..500, |_| never()).retry(policy).inputs(());
                    p.stage("sum", sum()).inputs(all)
                })
            })
        },
        Case {
            calls: Some(15),
            ..amplified(Lint::BreakerOutsideRetry, 3, |bad| {
                let place =
                    if bad { Placement::Outside(Layer::Retry) } else { Placement::At(Layer::Breaker) };
                let breaker = Placed(breaker().consecutive(5).build().expect("a breaker"), place);
                lint(|p| only!(p.retry(each_second(3)).intercept(breaker)))
            })
        },
        time(Lint::LongWaitForBreaker, 2.mins(), |bad| {
            let minutes = if bad { 2 } else { 1 };
            let breaker = breaker().open_for(minutes.mins()).build().expect("a breaker");
            lint(|p| only!(p.retry(each_second(3)).intercept(breaker)))
        }),
        time(Lint::LongWaitForBreaker, 2.mins(), |bad| {
            let breaker = breaker().open_for(2.mins()).build().expect("a breaker");
            let policy = each_second(3).max_elapsed(if bad { 180 } else { 60 }.secs());
            lint(|p| only!(p.retry(policy).intercept(breaker)))
        }),
    ]
}

fn p_deadline(deadline: u64, policy: Retry) -> LintReport {
    lint(|p| {
        p.deadline(deadline.secs());
        only!(p.retry(policy))
    })
}

fn of_limits() -> Vec<Case> {
    vec![
        Case {
            time: Some(2.secs()),
            ..calls(Lint::BulkheadOutsideRetry, 3, |bad| {
                let place = if bad { Placement::Outside(Layer::Retry) } else { Placement::At(Layer::Limit) };
                let limit = Placed(bulkhead(5).build().expect("a bulkhead"), place);
                lint(|p| only!(p.retry(each_second(3)).intercept(limit)))
            })
        },
        amplified(Lint::RateLimitOutsideRetry, 3, |bad| {
            let place = if bad { Placement::Outside(Layer::Retry) } else { Placement::At(Layer::Limit) };
            let limit = Placed(quota(60, 1).build().expect("a quota"), place);
            lint(|p| only!(p.retry(each_second(3)).intercept(limit)))
        }),
        calls(Lint::BulkheadAroundItself, 4, |bad| {
            let limit = bulkhead(4).build().expect("a bulkhead");
            let child = pipeline(|p| only!(p.intercept(limit.clone())));
            lint(|p| {
                let input = p.input();
                let outer = p.stage("outer", child);
                if bad { outer.intercept(limit).inputs(input) } else { outer.inputs(input) }
            })
        }),
        Case {
            calls: None,
            ..calls(Lint::ChargedTwice, 0, |bad| {
                let (limit, other) =
                    (quota(60, 1).build().expect("a quota"), quota(60, 1).build().expect("a quota"));
                lint(|p| {
                    p.intercept(limit.clone());
                    only!(p.intercept(if bad { limit } else { other }))
                })
            })
        },
        calls(Lint::LimitsInSeries, 5, |bad| {
            let outer = bulkhead(20).per_tenant(!bad).build().expect("a bulkhead");
            let inner = bulkhead(5).build().expect("a bulkhead");
            lint(|p| only!(p.intercept(outer).intercept(inner)))
        }),
        calls(Lint::LimitsInSeries, 10, |bad| {
            let engine = Engine::builder().max_in_flight(if bad { 10 } else { 100 });
            let limit = bulkhead(25).build().expect("a bulkhead");
            lint_in(engine, |p| only!(p.intercept(limit)))
        }),
        Case {
            calls: None,
            ..calls(Lint::LimitsInSeries, 0, |bad| {
                let outer = quota(60, 1).build().expect("a quota");
                let inner = quota(30, 1).per_tenant(!bad).build().expect("a quota");
                lint(|p| only!(p.intercept(outer).intercept(inner)))
            })
        },
        time(Lint::WaitOutlastsStage, 10.secs(), |bad| {
            let limit = bulkhead(5).queue_timeout(10.secs()).build().expect("a bulkhead");
            lint(|p| only!(p.intercept(limit).timeout(if bad { 10 } else { 11 }.secs())))
        }),
        time(Lint::WaitOutlastsStage, 10.secs(), |bad| {
            let limit = quota(60, 1).max_wait(10.secs()).build().expect("a quota");
            lint(|p| only!(p.intercept(limit).timeout(if bad { 10 } else { 11 }.secs())))
        }),
        time(Lint::WaitOutlastsStage, 10.secs(), |bad| {
            let breaker = breaker().wait_while_open(10.secs()).build().expect("a breaker");
            lint(|p| only!(p.intercept(breaker).timeout(if bad { 10 } else { 11 }.secs())))
        }),
        calls(Lint::FanOverflowsQueue, 390, |bad| {
            let limit = bulkhead(10).max_queue(if bad { 100 } else { 490 }).build().expect("a bulkhead");
            lint(|p| {
                let all = p.parallel("s", 0..500, |_| never()).intercept(limit).inputs(());
                p.stage("sum", sum()).inputs(all)
            })
        }),
        Case {
            time: Some(90.secs()),
            ..calls(Lint::FanOutlastsQuota, 31, |bad| {
                let limit = quota(60, 10).build().expect("a quota");
                lint(|p| {
                    p.deadline(if bad { 60 } else { 91 }.secs());
                    let all = p.parallel("s", 0..100, |_| never()).intercept(limit).inputs(());
                    p.stage("sum", sum()).inputs(all)
                })
            })
        },
        calls(Lint::FanOverflowsQueue, 15, |bad| {
            let limit = bulkhead(5).when_full(if bad { WhenFull::Reject } else { WhenFull::Wait });
            let limit = limit.build().expect("a bulkhead");
            lint(|p| {
                let all = p.parallel("s", 0..20, |_| never()).intercept(limit).inputs(());
                p.stage("sum", sum()).inputs(all)
            })
        }),
    ]
}

fn of_answers_and_times() -> Vec<Case> {
    vec![
        calls(Lint::StoredFailureRetried, 1, |bad| {
            let once = Idempotency::new(InMemoryStore::new());
            let once = if bad { once.store_failures() } else { once };
            let child = pipeline(|p| only!(p.intercept(once)));
            lint(|p| {
                let input = p.input();
                p.stage("outer", child).retry(each_second(3)).inputs(input)
            })
        }),
        time(Lint::LeaseTooShort, 30.secs(), |bad| {
            let store = InMemoryStore::new().lease(if bad { 10 } else { 30 }.secs());
            lint(|p| only!(p.intercept(Idempotency::new(store)).timeout(30.secs())))
        }),
        calls(Lint::FallbackInsideRetry, 1, |bad| {
            let place = if bad { Placement::Inside(Layer::Retry) } else { Placement::Outside(Layer::Retry) };
            let fallback = Placed(Fallback::value(1_u32), place);
            lint(|p| only!(p.retry(each_second(3)).intercept(fallback)))
        }),
        Case {
            calls: None,
            ..calls(Lint::OutsideAuthentication, 0, |bad| {
                let once = Idempotency::new(InMemoryStore::new());
                let child = pipeline(|p| only!(p.intercept(auth())));
                lint(|p| {
                    let input = p.input();
                    let outer = p.stage("outer", child).intercept(once);
                    if bad { outer.inputs(input) } else { outer.intercept(auth()).inputs(input) }
                })
            })
        },
        time(Lint::AttemptOutlastsStage, 5.secs(), |bad| {
            let attempt = if bad { 5 } else { 4 };
            lint(|p| only!(p.attempt_timeout(attempt.secs()).timeout(5.secs())))
        }),
        time(Lint::AttemptOutlastsStage, 5.secs(), |bad| {
            let attempt = if bad { 6 } else { 4 };
            lint(|p| {
                p.deadline(5.secs());
                only!(p.attempt_timeout(attempt.secs()))
            })
        }),
        time(Lint::StageOutlastsDeadline, 5.secs(), |bad| {
            let timeout = if bad { 6 } else { 5 };
            lint(|p| {
                p.deadline(5.secs());
                only!(p.timeout(timeout.secs()))
            })
        }),
        time(Lint::StageOutlastsDeadline, 2.secs(), |bad| {
            let child = pipeline(|p| only!(p.timeout(3.secs())));
            lint(|p| {
                let input = p.input();
                p.stage("outer", child).timeout(if bad { 2 } else { 3 }.secs()).inputs(input)
            })
        }),
        time(Lint::PathOutlastsDeadline, 12.secs(), |bad| {
            lint(|p| {
                p.deadline(if bad { 10 } else { 12 }.secs());
                let first = p.stage("first", never()).timeout(4.secs()).inputs(());
                let aside = p.stage("aside", never()).timeout(8.secs()).inputs(());
                p.stage("last", sum()).timeout(4.secs()).inputs(vec![first, aside])
            })
        }),
        Case {
            calls: None,
            ..calls(Lint::TooDeep, 0, |bad| {
                let engine = Engine::builder().max_depth(if bad { 1 } else { 2 });
                let innermost = pipeline(|p| only!(p));
                let inner = pipeline(|p| {
                    let input = p.input();
                    p.stage("inner", innermost).inputs(input)
                });
                lint_in(engine, |p| {
                    let input = p.input();
                    p.stage("outer", inner).inputs(input)
                })
            })
        },
    ]
}

fn cases() -> Vec<Case> {
    let all = of_retries().into_iter().chain(of_limits()).chain(of_answers_and_times());
    all.chain(table_of_runs::cases()).collect()
}

#[test]
fn s_1_each_bad_composition_is_found_and_its_neighbour_is_not() {
    for (index, case) in cases().into_iter().enumerate() {
        let (bad, good) = ((case.of)(true), (case.of)(false));
        let Some(found) = bad.finding(case.lint) else { panic!("case {index}, {}:\n{bad}", case.lint) };
        let numbers = (found.amplification(), found.calls(), found.time());
        assert_eq!(numbers, (case.amplification, case.calls, case.time), "case {index}:\n{found}");
        assert!(good.finding(case.lint).is_none(), "case {index}, the neighbour:\n{good}");
        assert!(bad.is_complete() && good.is_complete());
    }
}

#[test]
fn every_lint_has_a_case() {
    let cases: BTreeSet<_> = cases().iter().map(|case| case.lint.name()).collect();
    let lints: BTreeSet<_> = Lint::ALL.iter().map(|lint| lint.name()).collect();
    assert_eq!(cases, lints);
}

/// What is never right is no finding, but an error.
#[test]
fn a_place_outside_of_authentication_is_an_error() {
    let outside = || Placed(Fallback::value(1_u32), Placement::Outside(Layer::Authenticate));
    let built: Result<Pipeline<(), u32>, BuildError> = {
        let mut p = Pipeline::builder("test");
        let only = p.stage("only", gives(1)).intercept(outside()).inputs(());
        p.build(only)
    };
    assert!(built.expect_err("it is wrong").has(code::OUTSIDE_AUTHENTICATION));
    let engine = Engine::builder().interceptor(outside()).build().expect_err("it is wrong");
    assert_eq!(engine.codes().collect::<Vec<_>>(), [code::OUTSIDE_AUTHENTICATION]);
}
