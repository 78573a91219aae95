//! What a scenario is, and how one is found by name.

use std::{future::Future, pin::Pin, sync::Arc};

use anyhow::{Result, bail};

use super::bench::Bench;

/// What a scenario does.
pub(crate) type Body = fn(Arc<Bench>) -> Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// One load test.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) suites: &'static [&'static str],
    /// The findings that it answers, such as `SEED1-3`.
    pub(crate) answers: &'static [&'static str],
    /// What it checks, in one sentence.
    pub(crate) about: &'static str,
    pub(crate) parameters: &'static str,
    /// Each has to fire at least once.
    pub(crate) faults: &'static [&'static str],
    pub(crate) controls: &'static [Control],
    pub(crate) body: Step,
}

/// Whether a scenario can run.
#[derive(Debug)]
pub(crate) enum Step {
    Run(Body),
    /// It needs a policy that this issue brings.
    #[cfg_attr(not(test), expect(dead_code, reason = "nothing is planned at the moment"))]
    NotBuilt {
        issue: u32,
    },
}

/// A deliberately broken double, and the checks that have to notice it.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) name: &'static str,
    pub(crate) turns_red: &'static [&'static str],
}

impl Control {
    pub(crate) const fn new(name: &'static str, turns_red: &'static [&'static str]) -> Self {
        Self { name, turns_red }
    }
}

/// The scenarios of names and suites, in the order of the list; all where nothing is named.
pub(crate) fn select(
    all: &'static [&'static [Scenario]],
    suites: &[(&'static str, &'static str)],
    names: &[String],
    of_suites: &[String],
) -> Result<Vec<&'static Scenario>> {
    let all = || all.iter().flat_map(|some| some.iter());
    for name in names {
        if !all().any(|scenario| scenario.name == name) {
            bail!("there is no scenario `{name}`{}", hint(name, all().map(|scenario| scenario.name)));
        }
    }
    for suite in of_suites {
        if !suites.iter().any(|(known, _)| known == suite) {
            bail!("there is no suite `{suite}`{}", hint(suite, suites.iter().map(|(name, _)| *name)));
        }
    }
    let everything = names.is_empty() && of_suites.is_empty();
    let wanted = |scenario: &&Scenario| {
        everything
            || names.iter().any(|name| name == scenario.name)
            || of_suites.iter().any(|suite| scenario.suites.contains(&suite.as_str()))
    };
    Ok(all().filter(wanted).collect())
}

/// What a misspelt name may have meant, or where the names are.
fn hint<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known.map(|name| (distance(wrong, name), name)).min();
    match nearest {
        Some((far, name)) if far <= wrong.chars().count().max(3) / 2 => {
            format!(": did you mean `{name}`?")
        }
        _ => ": `cargo xtask stress --list` has all of them".to_owned(),
    }
}

/// How many letters have to be changed, added or taken out.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(letter != *other)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[&[Scenario]] =
        &[&[one("fanout.sizes", &["seeds"])], &[one("routing.baseline", &["seeds", "mon"])]];
    const SUITES: &[(&str, &str)] = &[("seeds", ""), ("mon", "")];

    const fn one(name: &'static str, suites: &'static [&'static str]) -> Scenario {
        Scenario {
            name,
            suites,
            answers: &[],
            about: "",
            parameters: "",
            faults: &[],
            controls: &[],
            body: Step::NotBuilt { issue: 4 },
        }
    }

    fn found(names: &[&str], suites: &[&str]) -> Result<Vec<&'static str>> {
        let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let found = select(ALL, SUITES, &owned(names), &owned(suites))?;
        Ok(found.iter().map(|scenario| scenario.name).collect())
    }

    #[test]
    fn scenarios_are_selected_by_name_and_suite() {
        assert_eq!(found(&[], &["mon"]).unwrap(), ["routing.baseline"]);
        assert_eq!(found(&["fanout.sizes"], &["mon"]).unwrap().len(), 2);
        assert_eq!(found(&[], &[]).unwrap().len(), 2);
    }

    #[test]
    fn a_misspelt_name_is_an_error_that_names_the_nearest() {
        let error = found(&["fanout.size"], &[]).unwrap_err().to_string();
        assert_eq!(error, "there is no scenario `fanout.size`: did you mean `fanout.sizes`?");
        let error = found(&[], &["sedes"]).unwrap_err().to_string();
        assert_eq!(error, "there is no suite `sedes`: did you mean `seeds`?");
        assert!(found(&["q"], &[]).unwrap_err().to_string().contains("--list"));
    }
}
