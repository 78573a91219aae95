//! [`ContextWindow`]: an interceptor that counts what stages give against a limit.

use std::{any::Any, collections::BTreeSet, fmt, sync::Arc};

use stageflow_core::{ContextSnapshot, StageContext, StageKind};

use super::{
    account::ContextAccount,
    counter::{EstimatedTokens, TokenCounter},
    measure::Measure,
    run,
    shorten::Shorten,
    types::{Type, Types},
    utilization::ContextUtilization,
};

/// What becomes of an output that has no room in a context window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OverLimit {
    /// It is counted, and goes on: the account says that it is too much.
    #[default]
    Record,
    /// Its stage fails with `CONTEXT_WINDOW_EXCEEDED`, class permanent.
    Fail,
    /// It is cut to the room that there is, by the strategy for its type; without one its stage fails as with `Fail`.
    Shorten,
}

impl OverLimit {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Fail => "fail",
            Self::Shorten => "shorten",
        }
    }
}

/// Which stages are counted.
#[derive(Clone, Debug)]
enum Counted {
    Kinds(Vec<StageKind>),
    Names(BTreeSet<Box<str>>),
}

/// Counts what stages give against the limit of a context window, keeps an account for each run, and says what becomes of that which
/// has no room: an interceptor for a pipeline or an engine. Stages need no code for it.
///
/// Without a word it counts the stages of kind [`Enrich`](StageKind::Enrich), wherever it stands: a stage of another kind is not
/// counted, though the window is put on that stage itself. [`kinds`](Self::kinds), [`stages`](Self::stages) and
/// [`MeasuredIn::measured_in`](super::MeasuredIn::measured_in) say otherwise.
///
/// # Guarantees
///
/// - It stands around idempotency, fallbacks and retries, and so counts what the readers of the stage get, once for each stage of a run.
///   Attempts that fail count nothing, nor do stages that are skipped.
/// - Clones are the same window. Each run has an account of its own with it, and so has each child run: a pipeline in the place of a stage counts
///   with what it gives, if its kind or name is counted, and what lies in it counts in the account of the child run.
/// - What becomes near the limit leaves `context.near_limit` once for each time it does; what does not fit, `context.over_limit`; what is cut,
///   `context.truncated`; every count, `context.measured`; and an output of which nobody has said how it is measured, `context.unmeasured`. An
///   output that is cut is never above the room that there was, by the same counter; if the strategy does not keep to it, the stage fails.
/// - Concurrent stages are counted exactly. With [`OverLimit::Fail`] and [`Shorten`](OverLimit::Shorten) the sum is never above the limit; which of them finds no room is
///   chance, if the order in which they end is.
///
/// # Limits
///
/// - It counts values as they are, not the prompt that is made of them.
/// - The counter runs on the worker of the stage. A panic of it, of a measure or of a strategy fails the stage.
///
/// ```
/// use stageflow_core::{Stage, StageContext, StageKind, StageResult};
/// use stageflow_dag::Pipeline;
/// use stageflow_exec::PipelineExt as _;
/// use stageflow_plus::enrich::{ContextExt as _, ContextWindow, OverLimit, TextCut};
///
/// struct Search;
///
/// impl Stage for Search {
///     type Input = ();
///     type Output = String;
///     const KIND: StageKind = StageKind::Enrich;
///
///     async fn run(&self, _: &StageContext, (): ()) -> StageResult<String> {
///         Ok("what is known of it: ".repeat(100))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut p = Pipeline::builder("answer");
/// p.intercept(ContextWindow::tokens(400).reserve(100).shorten::<String>(TextCut::keep_start()));
/// let found = p.stage("search", Search).inputs(());
/// let answer = p.build(found)?;
///
/// let run = answer.run(()).await?;
/// let account = run.report().snapshot().context_window().expect("something was counted").report();
/// assert_eq!(account.to_string(), "\
/// context window `context`: 300 of 400 tokens used, 100 reserved, full
///   search      300  100.0 %  cut from 525
/// ");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a window does nothing until a stage, pipeline or engine has it"]
pub struct ContextWindow(Arc<Settings>);

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) name: Arc<str>,
    pub(crate) empty: ContextUtilization,
    pub(crate) counter: Arc<dyn TokenCounter>,
    pub(crate) over: OverLimit,
    pub(crate) types: Types,
    counted: Counted,
    /// Clones are the same window, also where one is put on a stage with a type of its own.
    id: Arc<()>,
}

impl ContextWindow {
    /// A window of so many tokens, counted by the estimate of [`EstimatedTokens`] unless another [`counter`](Self::counter) is given.
    pub fn tokens(limit: usize) -> Self {
        Self(Arc::new(Settings {
            name: "context".into(),
            empty: ContextUtilization::new(limit),
            counter: Arc::new(EstimatedTokens::default()),
            over: OverLimit::default(),
            types: Types::texts(),
            counted: Counted::Kinds(vec![StageKind::Enrich]),
            id: Arc::new(()),
        }))
    }

    fn set(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.0));
        self
    }

    /// Its name in records; without a call, `context`.
    pub fn named(self, name: impl Into<Arc<str>>) -> Self {
        self.set(|it| it.name = name.into())
    }

    /// What counts the tokens.
    pub fn counter(self, counter: impl TokenCounter) -> Self {
        self.set(|it| it.counter = Arc::new(counter))
    }

    /// Keeps so many tokens of the limit free, as for the reply.
    pub fn reserve(self, tokens: usize) -> Self {
        self.set(|it| it.empty = it.empty.reserve(tokens))
    }

    /// From how many per cent of the usable tokens on it is nearly full; without a call, 80. More than 100 is 100.
    pub fn near_at(self, percent: u8) -> Self {
        self.set(|it| it.empty = it.empty.near_at(percent))
    }

    /// Counts the stages of these kinds.
    pub fn kinds(self, kinds: impl IntoIterator<Item = StageKind>) -> Self {
        let kinds = kinds.into_iter().collect();
        self.set(|it| it.counted = Counted::Kinds(kinds))
    }

    /// Counts the stages of these names, of whatever kind.
    pub fn stages<N: Into<Box<str>>>(self, names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        self.set(|it| it.counted = Counted::Names(names))
    }

    /// Counts outputs of type `T` by what it says itself. Texts and lists of texts are known without it.
    pub fn measure<T: Measure + Any + Send + Sync>(self) -> Self {
        self.set(|it| it.types.add(Type::of::<T>()))
    }

    /// Counts outputs of type `T` by this function.
    pub fn measure_by<T: Any + Send + Sync>(
        self,
        measure: impl Fn(&T, &dyn TokenCounter) -> usize + Send + Sync + 'static,
    ) -> Self {
        self.set(|it| it.types.add(Type::by(measure)))
    }

    /// Cuts outputs of type `T` by this strategy where they find no room; from now on the policy is [`OverLimit::Shorten`].
    pub fn shorten<T: Measure + Any + Send + Sync>(self, strategy: impl Shorten<T>) -> Self {
        self.set(|it| {
            it.types.cut(strategy);
            it.over = OverLimit::Shorten;
        })
    }

    /// What becomes of outputs that find no room.
    pub fn over_limit(self, policy: OverLimit) -> Self {
        self.set(|it| it.over = policy)
    }

    /// The same window with settings of its own.
    pub(crate) fn with(&self, set: impl FnOnce(&mut Settings)) -> Self {
        self.clone().set(set)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0
    }

    /// The account of a run, which begins now if the run has not met the window before.
    pub fn account(&self, run: &ContextSnapshot) -> ContextAccount {
        run::records(run).account(
            |known| known.is_of(&self.0.id),
            || ContextAccount::new(Arc::clone(&self.0.name), Arc::clone(&self.0.id), self.0.empty),
        )
    }

    /// Counts a part of what a stage puts into the window itself, such as a prompt that is no output: so many tokens, whether there is room
    /// for them or not. The same part again takes the place of what it was.
    pub fn record(&self, ctx: &StageContext, part: &str, tokens: usize) -> ContextUtilization {
        super::intercept::record(self, ctx, part, tokens)
    }

    pub(crate) fn counts(&self, stage: &str, kind: StageKind) -> bool {
        match &self.0.counted {
            Counted::Kinds(kinds) => kinds.contains(&kind),
            Counted::Names(names) => names.contains(stage),
        }
    }
}

impl fmt::Debug for ContextWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextWindow")
            .field("name", &self.0.name)
            .field("window", &self.0.empty)
            .field("counter", &self.0.counter.name())
            .field("over_limit", &self.0.over)
            .field("counted", &self.0.counted)
            .field("types", &self.0.types.names().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
