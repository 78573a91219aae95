//! Inputs by name, some of them optional, and the names of numbered stages.

/// Names that feed a [`StageInputs`](stageflow_core::StageInputs): made by [`names`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "names feed a stage when they are given to `.inputs`"]
pub struct Names {
    items: Vec<(String, bool)>,
}

/// Required inputs by name; [`optional`](Names::optional) adds optional ones.
///
/// ```
/// use stageflow_core::{StageContext, StageInputs, StageResult, stage_fn};
/// use stageflow_dag::{Pipeline, names};
///
/// async fn join(_ctx: StageContext, inputs: StageInputs) -> StageResult<String> {
///     let profile = inputs.get_from::<String>("profile")?;
///     let memory = inputs.get_optional::<String>("memory")?;
///     Ok(format!("{profile} {}", memory.is_some()))
/// }
/// # async fn load(_ctx: StageContext, _: ()) -> StageResult<String> { Ok(String::new()) }
///
/// let mut p = Pipeline::builder("by-name");
/// let joined = p.stage("join", stage_fn(join)).inputs(names(["profile"]).optional(["memory"]));
/// p.stage("profile", stage_fn(load)).inputs(()); // a name may refer to a stage that comes later
/// p.stage("memory", stage_fn(load)).inputs(());
/// let pipeline: Pipeline<(), String> = p.build(joined)?;
/// # Ok::<_, stageflow_dag::BuildError>(())
/// ```
pub fn names<N: Into<String>>(required: impl IntoIterator<Item = N>) -> Names {
    Names { items: required.into_iter().map(|name| (name.into(), false)).collect() }
}

impl Names {
    /// Adds names whose stages may be skipped or fail: the reader finds out by `get_optional`.
    pub fn optional<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.items.extend(names.into_iter().map(|name| (name.into(), true)));
        self
    }

    pub(crate) fn into_items(self) -> Vec<(String, bool)> {
        self.items
    }
}

/// The name of one of several stages of the same sort, as [`Builder::parallel`](crate::Builder::parallel) gives it: the number is padded
/// to the width of the largest, and to three digits at least.
///
/// ```
/// use stageflow_dag::numbered;
///
/// assert_eq!(numbered("shard", 7, 499), "shard-007");
/// assert_eq!(numbered("shard", 7, 1_000), "shard-0007");
/// ```
pub fn numbered(prefix: &str, index: usize, largest: usize) -> String {
    let digits = largest.checked_ilog10().map_or(1, |log| log as usize + 1);
    format!("{prefix}-{index:0width$}", width = digits.max(3))
}
