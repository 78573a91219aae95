//! Canaries: a text of its own for each tenant and place, and a sweep that finds each one where it should not be.

mod mark;
mod pipeline;
mod sweep;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use stageflow_core::{RunId, StageContext};
use stageflow_exec::RunBuilder;

use self::mark::Marks;
pub use self::{
    pipeline::CanaryCause,
    sweep::{CanaryLeak, CanarySweep, LeakKind, SweepReport},
};

/// Where a tenant puts a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Place {
    /// The input of a run.
    Input,
    /// The output of a stage.
    Output,
    /// What an error was caused by.
    Cause,
    /// Metadata of a run.
    Metadata,
    /// Metadata of a run that is marked as sensitive.
    Sensitive,
    /// An extension of a run.
    Extension,
    /// An idempotency key.
    Key,
    /// The answer of a pause.
    Answer,
    /// The message of an error.
    Message,
    /// The message of a panic.
    Panic,
    /// A field of an event of a stage's own.
    Field,
    /// A line of a log that a stage writes.
    Line,
    /// What an auditor is told.
    Audit,
}

impl Place {
    /// All places.
    pub const ALL: [Self; 13] = [
        Self::Input,
        Self::Output,
        Self::Cause,
        Self::Metadata,
        Self::Sensitive,
        Self::Extension,
        Self::Key,
        Self::Answer,
        Self::Message,
        Self::Panic,
        Self::Field,
        Self::Line,
        Self::Audit,
    ];

    /// Whether it is a payload, which no log, no event and no metric may have (rule S-33). The others are what stages tell themselves.
    pub fn is_payload(self) -> bool {
        self < Self::Message
    }
}

/// Tenants for a test of their isolation, each with texts that nobody else has.
///
/// Every tenant leaves its canaries everywhere in runs of one engine, all at the same time: [`pipeline`](Self::pipeline) does so, and
/// [`CanaryTenant::settle`]. Then a [`sweep`](Self::sweep) looks for them wherever something can be seen:
///
/// - what one tenant can see has no canary, and no id, of another;
/// - of lines that nobody has filtered, each with a canary has the id of its tenant, none has the ids of two, and none has a payload.
///
/// A place in which there is nothing to be found is a finding as well, so that a sweep that looks past the data is not clean.
///
/// # Stores
///
/// The sweep knows nothing of stores: it is told what a tenant sees, by a function from the id of a tenant to texts. The test of a
/// store whose protection was taken away is the same test, and must not be clean:
///
/// ```
/// use std::collections::HashMap;
/// use stageflow_testing::{Canaries, Place};
///
/// /// Stands for a database: with the policy, one sees rows of one's own; without it, all.
/// fn rows(table: &[(String, String)], tenant: &str, policy: bool) -> Vec<String> {
///     table.iter().filter(|(of, _)| !policy || of == tenant).map(|(_, row)| row.clone()).collect()
/// }
///
/// let canaries = Canaries::new(10);
/// let table: Vec<_> =
///     canaries.tenants().map(|tenant| (tenant.id().to_owned(), tenant.canary(Place::Output))).collect();
///
/// canaries.sweep().visible("journal", |tenant| rows(&table, tenant, true)).finish().assert_clean();
///
/// // The negative control: `ALTER TABLE … DISABLE ROW LEVEL SECURITY`.
/// let report = canaries.sweep().visible("journal", |tenant| rows(&table, tenant, false)).finish();
/// assert_eq!(report.leak_count(), 10 * 9);
/// ```
///
/// Of a store that is read by async functions, read what each tenant sees before the sweep, and give it the map.
#[derive(Clone)]
pub struct Canaries {
    marks: Arc<Marks>,
    count: usize,
}

/// One of the tenants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryTenant {
    id: Arc<str>,
    /// The id without its kind: what its canaries begin with as well.
    stem: Box<str>,
}

impl Canaries {
    /// So many tenants, whose names no other process and no other test has.
    ///
    /// # Panics
    ///
    /// For more than 999,999.
    pub fn new(tenants: usize) -> Self {
        let mut random = [0; 8];
        random.copy_from_slice(&RunId::new().as_bytes()[8..]);
        Self::seeded(u64::from_be_bytes(random), tenants)
    }

    /// The same with names that follow from a number, such as the [seed](crate::Sim::seed) of a simulation.
    ///
    /// # Panics
    ///
    /// For more than 999,999.
    pub fn seeded(seed: u64, tenants: usize) -> Self {
        assert!(tenants < mark::MOST, "a test of a million tenants is a load test");
        Self { marks: Arc::new(Marks::new(seed)), count: tenants }
    }

    /// The tenants.
    pub fn tenants(&self) -> impl Iterator<Item = CanaryTenant> + '_ {
        (0..self.count).map(|index| self.tenant(index))
    }

    /// One of them.
    ///
    /// # Panics
    ///
    /// If there is none of that number.
    pub fn tenant(&self, index: usize) -> CanaryTenant {
        assert!(index < self.count, "there are {} tenants, from 0", self.count);
        CanaryTenant { id: self.marks.tenant(index).into(), stem: self.marks.stem(index).into() }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Begins to look for canaries.
    pub fn sweep(&self) -> CanarySweep<'_> {
        CanarySweep::new(self)
    }
}

impl CanaryTenant {
    /// The tenant that a stage works for, as the stage itself sees it; `None` for any that is not one of [`Canaries`].
    pub fn of(ctx: &StageContext) -> Option<Self> {
        let id = ctx.identity().tenant_id()?.as_str();
        Some(Self { id: id.into(), stem: mark::stem_of(id)?.into() })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The text that it puts at a place.
    pub fn canary(&self, place: Place) -> String {
        mark::canary(&self.stem, place)
    }

    /// Makes a run one of this tenant, with a canary wherever a caller can put one; an extension of type `String` is one of them.
    pub fn settle<O: Send + Sync + 'static>(&self, run: RunBuilder<O>) -> RunBuilder<O> {
        run.tenant(&*self.id)
            .metadata("canary", self.canary(Place::Metadata))
            .sensitive_metadata("token", self.canary(Place::Sensitive))
            .extension(self.canary(Place::Extension))
    }
}

impl fmt::Debug for Canaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canaries").field("tenants", &self.count).finish_non_exhaustive()
    }
}
