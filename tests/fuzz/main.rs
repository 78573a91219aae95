//! Random data against what reads it: that nothing panics, and that what comes back keeps its promises.
//!
//! Without a word it makes some thousand cases, always the same. `cargo xtask fuzz` gives it time and a seed, by the variables
//! `STAGEFLOW_FUZZ_SECONDS` and `STAGEFLOW_FUZZ_SEED`. Cases are texts of `corpus` that were changed at random, as bytes and as
//! trees; no coverage is fed back. Each case follows from the seed and its number alone.
#![expect(clippy::print_stdout, reason = "it says what it has done")]

mod change;
mod target;

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, SystemTime},
};

use stageflow::SeededRandom;

use crate::{
    change::Random,
    target::{Seen, Target},
};

/// What every change begins with.
const CORPUS: &[&str] = &[
    include_str!("corpus/minimal.json"),
    include_str!("corpus/forms.json"),
    include_str!("corpus/policies.json"),
    include_str!("corpus/conditions.json"),
    include_str!("corpus/wrong.json"),
];

/// How many cases there are where no time is given.
const CASES: u64 = 3_000;

/// A stack on which a recursion that the data drives would not get far.
const STACK: usize = 512 << 10;

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is `{value}`, and no number")))
}

#[test]
fn nothing_that_is_read_panics() {
    let seed = variable("STAGEFLOW_FUZZ_SEED").unwrap_or(28);
    let time = variable("STAGEFLOW_FUZZ_SECONDS").map(Duration::from_secs);
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || campaign(seed, time));
    thread.expect("a thread starts").join().expect("the campaign ends");
}

#[expect(clippy::disallowed_methods, reason = "a campaign ends by the machine's time")]
fn campaign(seed: u64, time: Option<Duration>) {
    // Constructors of the target panic on purpose, thousands of times.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let target = Target::new();
    let began = SystemTime::now();
    let mut seen = Seen::default();
    let mut found = None;
    for case in 0.. {
        let is_over = match time {
            Some(time) => began.elapsed().unwrap_or_default() >= time,
            None => case == CASES,
        };
        if is_over {
            break;
        }
        let text = text_of(seed, case);
        let checked = catch_unwind(AssertUnwindSafe(|| target.check(&text)));
        match checked.unwrap_or_else(|panic| Err(format!("a panic: {}", words(&*panic)))) {
            Ok(what) => seen.add(what),
            Err(what) => {
                found = Some((case, text, what));
                break;
            }
        }
    }
    std::panic::set_hook(hook);
    if let Some((case, text, what)) = found {
        panic!("case {case} of seed {seed}: {what}\nthe text, escaped:\n{}", text.escape_debug());
    }
    println!("seed {seed}: {seen}");
    // A campaign that reaches only the reader, or only the builder, has proved less than it says.
    assert!(seen.reaches_everything(), "{seen}");
}

/// The text of a case: a text of the corpus with some changes.
fn text_of(seed: u64, case: u64) -> String {
    let random = Random(SeededRandom::new(seed ^ case.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    let text = CORPUS[random.below(CORPUS.len())];
    match random.below(3) {
        0 => change::bytes(&random, text, CORPUS),
        1 => change::tree(&random, text),
        _ => change::bytes(&random, &change::tree(&random, text), CORPUS),
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
