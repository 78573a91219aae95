//! What all measurements share: runtimes, stores, and the runs that are resumed.

use std::time::SystemTime;

use anyhow::{Context, Result};
use stageflow_benches::{graph::Shape, report};
use stageflow_test_postgres::Cluster;
use tokio::runtime::{Builder, Runtime};

use crate::{
    attached::FAR,
    pipelines::Door,
    resume::Left,
    stores::{Kind, Opened, Scratch},
    what::RESUMED,
};

/// Whose the runs are.
pub(crate) const TENANT: &str = "bench";

pub(crate) struct Lab {
    /// Two workers, as the writers of the stores have threads of their own, or a server.
    pub(crate) runtime: Runtime,
    /// One worker, whose time on the processor is measured.
    pub(crate) one_worker: Runtime,
    pub(crate) door: Door,
    stores: Vec<Opened>,
    left: Vec<Left>,
    is_quick: bool,
    /// Goes after the stores.
    _scratch: Scratch,
    cluster: Cluster,
}

impl Lab {
    pub(crate) fn open(is_quick: bool) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.context("a runtime starts")?;
        let scratch = Scratch::new()?;
        let cluster = Cluster::start()?;
        let postgres = runtime.block_on(Opened::postgres(&cluster)).context("a database is made")?;
        let left = RESUMED.iter().map(|shape| Left::new(&runtime, *shape)).collect::<Result<_>>()?;
        Ok(Self {
            one_worker: report::runtime(1)?,
            door: Door::default(),
            stores: vec![Opened::memory(), Opened::sqlite(&scratch)?, postgres],
            left,
            is_quick,
            _scratch: scratch,
            cluster,
            runtime,
        })
    }

    /// The version of the server.
    pub(crate) fn server(&self) -> String {
        format!("PostgreSQL {}", self.cluster.major())
    }

    pub(crate) fn stores(&self) -> &[Opened] {
        &self.stores
    }

    pub(crate) fn store(&self, kind: Kind) -> Result<&Opened> {
        self.stores.iter().find(|store| store.kind == kind).with_context(|| format!("no {}", kind.name()))
    }

    /// A run of a shape that was left before its end.
    pub(crate) fn left(&self, shape: Shape) -> Result<&Left> {
        self.left.iter().find(|left| left.shape == shape).context("every shape was run")
    }

    /// About how many commits there are in one measurement.
    pub(crate) fn commits(&self) -> u32 {
        if self.is_quick { 250 } else { 500 }
    }

    /// What has ended goes, so that memory does not grow with the rounds.
    pub(crate) fn settle(&self, kind: Kind) -> Result<()> {
        if kind == Kind::Memory {
            let journal = &self.store(kind)?.journal;
            let tenant = TENANT.into();
            let forgotten = journal.forget_ended(&tenant, SystemTime::UNIX_EPOCH + FAR);
            self.runtime.block_on(forgotten).context("the store forgets")?;
        }
        Ok(())
    }
}
