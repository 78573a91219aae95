//! S-4 … S-9, S-11, S-27, S-28: random pipelines with random outcomes against a plain sequential oracle.
//!
//! `PROPTEST_CASES=100000 PROPTEST_RNG_SEED=7 cargo test -p stageflow-tests --test it oracle` looks further.

mod build;
mod case;
mod check;
mod expect;
mod genes;
mod observe;
mod probe;
mod replay;
mod story;

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

use self::{expect::Oracle, genes::Genes, observe::Mode};

/// How many random pipelines, unless the environment says otherwise.
const CASES: u32 = 1_000;

const MODES: [Mode; 5] = [
    Mode::Single,
    Mode::Seeded,
    Mode::Threads { workers: 2, inside: false },
    Mode::Threads { workers: 2, inside: true },
    Mode::Threads { workers: 3, inside: true },
];

fn config() -> Config {
    let set = |variable: &str| std::env::var_os(variable).is_some();
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if !set("PROPTEST_CASES") {
        config.cases = CASES;
    }
    if !set("PROPTEST_RNG_SEED") {
        config.rng_seed = RngSeed::Fixed(1);
    }
    if !set("PROPTEST_MAX_SHRINK_ITERS") {
        (config.max_shrink_iters, config.max_shrink_time) = (100_000, 30_000);
    }
    config
}

fn holds(genes: &Genes) -> Result<(), TestCaseError> {
    let case = genes.read();
    let oracle = Oracle::of(&case);
    for mode in MODES {
        let seen = observe::run(&case, mode);
        check::check(&case, &oracle, &seen);
        story::check(&case, &oracle, &seen);
        let probe = seen.probe;
        drop((seen.result, seen.report, seen.events));
        // A helper on another thread that comes to find the run over holds it for the moment it takes to look.
        let left = std::iter::repeat_with(|| {
            std::thread::yield_now();
            probe.values_alive()
        });
        let gone =
            left.take(if matches!(mode, Mode::Threads { .. }) { 1_000_000 } else { 1 }).any(|left| left == 0);
        assert!(gone, "{} values of a run are left though nobody can ask for them", probe.values_alive());
    }
    Ok(())
}

#[test]
fn s_4_to_s_9_random_pipelines_run_as_the_rules_say() {
    super::panics_on_purpose_are_silent();
    match TestRunner::new(config()).run(&genes::genes(), |genes| holds(&genes)) {
        Ok(()) => {}
        Err(TestError::Fail(reason, genes)) => panic!("{reason}\nby {}", genes.read()),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}
