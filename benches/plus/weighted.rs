//! A route by weight: ours, that of tower-resilience, and a plain alias table, with 2, 16 and 64 routes.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    task::{Context, Poll},
};

use anyhow::{Context as _, Result, ensure};
use stageflow::{
    Randomness as _, SeededRandom,
    plus::router::{AliasTable, WeightedTable},
};
use stageflow_benches::{report::Goal, stopwatch::Stopwatch};
use tokio::runtime::Runtime;
use tower::Service;
use tower_resilience::router::WeightedRouter;

use crate::campaign::{Campaign, Case};

const ROUTES: [u32; 3] = [2, 16, 64];
const PICKS: u32 = 1_000_000;
/// In times of theirs.
const SLOWER: f64 = 1.0;

/// What chooses.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Plain,
    Alias,
    ByChance,
    InTurn,
    TheirsByChance,
    TheirsInTurn,
}

impl Way {
    const ALL: [Self; 6] =
        [Self::Plain, Self::Alias, Self::ByChance, Self::InTurn, Self::TheirsByChance, Self::TheirsInTurn];

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "a plain alias table, in floats",
            Self::Alias => "AliasTable, by chance",
            Self::ByChance => "WeightedTable, by chance",
            Self::InTurn => "WeightedTable, in turn",
            Self::TheirsByChance => "tower-resilience, by chance, a call",
            Self::TheirsInTurn => "tower-resilience, in turn, a call",
        }
    }

    /// A function that gives one index after the other.
    fn chooser(self, routes: u32) -> Result<Box<dyn FnMut() -> u32>> {
        let weights: Vec<u32> = (0..routes).map(weight).collect();
        let random = SeededRandom::new(7);
        let table = || WeightedTable::new((0..routes).zip(weights.iter().copied()));
        let theirs = || {
            let all = (0..routes).zip(&weights);
            all.fold(WeightedRouter::builder(), |router, (index, weight)| {
                router.route(Backend(index), *weight)
            })
        };
        Ok(match self {
            Self::Plain => {
                let plain = Plain::new(&weights);
                Box::new(move || plain.draw(random.next_u64()))
            }
            Self::Alias => {
                let table = AliasTable::new(weights).context("not all weights are 0")?;
                Box::new(move || u32::try_from(table.draw(random.next_u64())).unwrap_or(u32::MAX))
            }
            Self::ByChance => {
                let table = table();
                Box::new(move || table.draw(random.next_u64()).copied().unwrap_or(u32::MAX))
            }
            Self::InTurn => {
                let table = table();
                Box::new(move || table.next_turn().copied().unwrap_or(u32::MAX))
            }
            Self::TheirsByChance => called(theirs().random().build()),
            Self::TheirsInTurn => called(theirs().deterministic().build()),
        })
    }
}

fn weight(index: u32) -> u32 {
    index % 7 + 1
}

/// A backend that answers at once with its own number.
#[derive(Clone)]
struct Backend(u32);

impl Service<()> for Backend {
    type Response = u32;
    type Error = Infallible;
    type Future = Ready<Result<u32, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(self.0))
    }
}

/// Theirs chooses within a call. What it asks all backends before, whether they are ready, is left out.
fn called(mut router: WeightedRouter<Backend>) -> Box<dyn FnMut() -> u32> {
    Box::new(move || match router.call(()).into_inner() {
        Ok(index) => index,
        Err(never) => match never {},
    })
}

/// What one would write: Vose's alias method in floats.
struct Plain {
    columns: Vec<(f64, u32)>,
}

impl Plain {
    fn new(weights: &[u32]) -> Self {
        let total: u32 = weights.iter().sum();
        let count = f64::from(u32::try_from(weights.len()).unwrap_or(u32::MAX));
        let mut heights: Vec<f64> =
            weights.iter().map(|weight| f64::from(*weight) * count / f64::from(total)).collect();
        let mut columns: Vec<(f64, u32)> = (0..).map(|index| (1.0, index)).take(weights.len()).collect();
        let (mut low, mut high): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|index| heights[*index] < 1.0);
        while let (Some(small), Some(large)) = (low.pop(), high.last().copied()) {
            columns[small] = (heights[small], u32::try_from(large).unwrap_or(u32::MAX));
            heights[large] -= 1.0 - heights[small];
            if heights[large] < 1.0 {
                high.pop();
                low.push(large);
            }
        }
        Self { columns }
    }

    #[expect(clippy::cast_precision_loss, reason = "32 bits fit a float")]
    fn draw(&self, random: u64) -> u32 {
        let index = (((random >> 32) * self.columns.len() as u64) >> 32) as u32;
        let (mark, other) = self.columns[index as usize];
        let height = (random & 0xFFFF_FFFF) as f64 / 4_294_967_296.0;
        if height < mark { index } else { other }
    }
}

fn table(routes: u32) -> String {
    format!("A route by weight, of {routes}")
}

pub(crate) fn cases() -> Vec<Case> {
    let each = |routes| Way::ALL.map(move |way| case(way, routes));
    ROUTES.into_iter().flat_map(each).collect()
}

fn case(way: Way, routes: u32) -> Case {
    let measure = move |_: &Runtime| {
        let mut choose = way.chooser(routes)?;
        let watch = Stopwatch::start();
        for _ in 0..PICKS {
            black_box(choose());
        }
        Ok(watch.elapsed().as_secs_f64() * 1e9 / f64::from(PICKS))
    };
    let (table, name) = (table(routes), way.name().to_owned());
    Case { table, name, unit: "ns/pick", measure: Box::new(measure), is_exact: false }
}

pub(crate) fn goals(campaign: &Campaign) -> Vec<Goal> {
    let pairs = [(Way::ByChance, Way::TheirsByChance), (Way::InTurn, Way::TheirsInTurn)];
    let goal = |routes, (ours, theirs): (Way, Way)| {
        let median = |way: Way| campaign.median(&table(routes), way.name());
        Some(Goal {
            name: format!("{}, of {routes}", ours.name()),
            unit: "× tower-resilience",
            measured: median(ours)? / median(theirs)?,
            limit: SLOWER,
        })
    };
    ROUTES
        .into_iter()
        .flat_map(|routes| pairs.into_iter().filter_map(move |pair| goal(routes, pair)))
        .collect()
}

/// In turn, whole rounds are exact; by chance, shares are right to a hundredth of all picks.
pub(crate) fn verify() -> Result<()> {
    for routes in ROUTES {
        let total: u32 = (0..routes).map(weight).sum();
        let rounds = PICKS / total;
        let picks = total * rounds;
        for way in Way::ALL {
            let mut choose = way.chooser(routes)?;
            let mut counts = vec![0_u32; routes as usize];
            for _ in 0..picks {
                let count = counts.get_mut(choose() as usize);
                *count.with_context(|| format!("{way:?} gives a route that there is not"))? += 1;
            }
            let slack = if matches!(way, Way::InTurn | Way::TheirsInTurn) { 0 } else { picks / 100 };
            for (index, count) in (0..).zip(counts) {
                let off = count.abs_diff(weight(index) * rounds);
                ensure!(off <= slack, "{way:?} of {routes}: route {index} is off by {off} of {picks}");
            }
        }
    }
    crate::say(format_args!(
        "verified {} ways to choose by weight: every route gets its share",
        Way::ALL.len()
    ));
    Ok(())
}
