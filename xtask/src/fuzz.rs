//! `cargo xtask fuzz`: random data against what reads data, for a given time, on the stable toolchain.

use crate::report::Outcome;
use crate::shell;
use anyhow::{Context as _, Result, bail};

pub(crate) const HELP: &str = "
Usage: cargo xtask fuzz [--seconds N] [--seed N]

Changes the texts of tests/fuzz/corpus at random, as bytes and as trees, and
gives them to the reader of pipelines from data and to a registry: nothing may
panic or run out of stack, what is read serialises to the same, and each
problem is at a place of the data. It fails as well if a part of the cases is
not read, refused or built at all. No coverage is fed back.

    --seconds N   how long, 20 by default
    --seed N      another seed than 28; a failure names its seed and its case";

const SECONDS: u64 = 20;

pub(crate) fn run(args: &[String]) -> Result<bool> {
    let (mut seconds, mut seed) = (SECONDS, None);
    let mut args = args.iter();
    while let Some(flag) = args.next() {
        let value = || args.clone().next().with_context(|| format!("`{flag}` needs a number"));
        let number = value()?.parse().with_context(|| format!("`{flag}` needs a number"))?;
        args.next();
        match flag.as_str() {
            "--seconds" => seconds = number,
            "--seed" => seed = Some(number),
            _ => bail!("`fuzz` takes `--seconds` and `--seed`, got `{flag}`"),
        }
    }
    Ok(matches!(campaign(seconds, seed)?, Outcome::Pass))
}

pub(crate) fn gate() -> Result<Outcome> {
    campaign(SECONDS, None)
}

fn campaign(seconds: u64, seed: Option<u64>) -> Result<Outcome> {
    let mut command =
        shell::cargo(["test", "--package", "stageflow-tests", "--test", "fuzz", "--", "--nocapture"]);
    command.env("STAGEFLOW_FUZZ_SECONDS", seconds.to_string());
    if let Some(seed) = seed {
        command.env("STAGEFLOW_FUZZ_SEED", seed.to_string());
    }
    shell::outcome(&mut command)
}
