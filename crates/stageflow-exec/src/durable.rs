//! Runs that outlive their process: what is written of them, and how they go on.

mod asked;
mod commit;
mod direct;
mod facts;
mod guarded;
mod handle;
mod known;
mod log;
mod noted;
mod opening;
mod pause;
mod replay;
mod settle;

use std::{fmt, sync::Arc};

use stageflow_core::{TenantId, durable::Journal};
use tokio::sync::Notify;

pub use self::direct::{Cue, Director, Given};
pub(crate) use self::{
    commit::{committed, is_committed},
    direct::directed,
    handle::{carry, log_of},
    known::Restored,
    log::RunLog,
    noted::noted,
    opening::{Closing, Opening},
    pause::answer,
};

/// What follows when a journal does not take what a run has to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnLoss {
    /// The run stops, with the code of what went wrong, and can be resumed from what was written.
    #[default]
    Stop,
    /// The run goes on without a journal: the event `journal.lost` tells, and the report.
    GoOn,
}

/// Which runs are written down, and where. Made of a [`Journal`], or of this for more to say.
///
/// ```
/// use stageflow_exec::{Durability, Engine, OnLoss};
/// # fn engine(journal: impl stageflow_core::durable::Journal) -> Result<Engine, stageflow_exec::EngineBuildError> {
/// Engine::builder().journal(Durability::new(journal).default_tenant("local").on_loss(OnLoss::GoOn)).build()
/// # }
/// ```
#[derive(Clone)]
#[must_use = "it does nothing until an engine has it"]
pub struct Durability {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) every_run: bool,
    pub(crate) on_loss: OnLoss,
    pub(crate) default_tenant: Option<TenantId>,
    /// Tells the pauses of this engine that one of them has its answer.
    pub(crate) answered: Arc<Notify>,
    /// Of a replay.
    pub(crate) director: Option<Arc<dyn Director>>,
}

impl Durability {
    /// Writes the runs of pipelines with durable stages.
    pub fn new(journal: impl Journal) -> Self {
        Self::shared(Arc::new(journal))
    }

    /// The same with a journal that others have as well.
    pub fn shared(journal: Arc<dyn Journal>) -> Self {
        Self {
            journal,
            every_run: false,
            on_loss: OnLoss::Stop,
            default_tenant: None,
            answered: Arc::default(),
            director: None,
        }
    }

    /// Writes every run, also of pipelines without a durable stage: what was decided and how the stages ended can be read, compared and
    /// replayed then.
    pub fn every_run(mut self) -> Self {
        self.every_run = true;
        self
    }

    /// What follows when the journal does not take what a run has to write; without a call, [`OnLoss::Stop`].
    pub fn on_loss(mut self, on_loss: OnLoss) -> Self {
        self.on_loss = on_loss;
        self
    }

    /// Whose the runs are that have no tenant. Without a call such a run is refused with `TENANT_REQUIRED`.
    pub fn default_tenant(mut self, tenant: impl Into<TenantId>) -> Self {
        self.default_tenant = Some(tenant.into());
        self
    }
}

impl<J: Journal> From<J> for Durability {
    fn from(journal: J) -> Self {
        Self::new(journal)
    }
}

impl fmt::Debug for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durability")
            .field("journal", &self.journal.describe())
            .field("every_run", &self.every_run)
            .field("on_loss", &self.on_loss)
            .field("default_tenant", &self.default_tenant)
            .finish_non_exhaustive()
    }
}
