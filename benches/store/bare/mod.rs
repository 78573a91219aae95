//! What one would write by hand: a row for each stage, committed when the stage has ended, with the same bytes in it.

mod postgres;
mod sqlite;

use anyhow::{Context as _, Result, bail};
use futures_util::{FutureExt as _, future::BoxFuture};
use stageflow_benches::stopwatch::Stopwatch;

pub(crate) use self::{postgres::Postgres, sqlite::Sqlite};
use crate::{lab::Lab, stores::Kind};

/// How rows are committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// In a loop, on one connection that nobody else has.
    OneWriter,
    /// By everybody who has one: SQLite behind a lock, PostgreSQL on a connection each.
    Each,
}

impl Way {
    pub(crate) const ALL: &[Self] = &[Self::OneWriter, Self::Each];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OneWriter => "one writer",
            Self::Each => "each commits",
        }
    }
}

/// A table of one's own.
pub(crate) enum Bare {
    None,
    Sqlite(Sqlite),
    Postgres(Box<Postgres>),
}

/// What a commit takes, of so many committers at the same time.
pub(crate) fn commits(lab: &Lab, kind: Kind, way: Way, committers: u32) -> Result<f64> {
    let bare = &lab.store(kind)?.bare;
    let committers = if way == Way::OneWriter { 1 } else { committers };
    let each = (lab.commits() / committers).max(5);
    let time = lab.runtime.block_on(async {
        let mut ready: Vec<BoxFuture<'static, Result<()>>> = Vec::new();
        for _ in 0..committers {
            ready.push(match bare {
                Bare::None => bail!("memory has no commits"),
                Bare::Sqlite(sqlite) => sqlite.committer(way).commit(each).boxed(),
                // Connected before it is measured.
                Bare::Postgres(postgres) => postgres.committer().await?.commit(each).boxed(),
            });
        }
        let watch = Stopwatch::start();
        let tasks: Vec<_> = ready.into_iter().map(tokio::spawn).collect();
        for task in tasks {
            task.await.context("it does not panic")??;
        }
        anyhow::Ok(watch.elapsed())
    })?;
    Ok(time.as_secs_f64() * 1e9 / f64::from(each * committers))
}
