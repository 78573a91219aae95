//! Ports: typed handles of values that will exist.

use std::{fmt, marker::PhantomData};

use crate::plan::INPUT;

/// A handle of the output of a stage, or of the pipeline's input: it says what feeds what.
///
/// A port exists only after its stage has joined the pipeline, so a circle cannot be written with ports. A port
/// used with another builder than its own is reported as `FOREIGN_NODE`.
pub struct Port<T> {
    raw: AnyPort,
    value: PhantomData<fn() -> T>,
}

/// A port that delivers `None` where the value will never come: made by [`Port::optional`].
pub struct OptionalPort<T>(pub(crate) Port<T>);

/// Several ports of one type, of which the first that completed, in written order, delivers: made by [`Port::or`].
pub struct OrPort<T> {
    sides: Vec<AnyPort>,
    value: PhantomData<fn() -> T>,
}

/// An [`OrPort`] that delivers `None` where no side completed: made by [`OrPort::optional`].
pub struct OptionalOrPort<T>(pub(crate) OrPort<T>);

/// A port without its type: enough to order stages.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AnyPort {
    builder: u64,
    node: u32,
}

impl<T> Port<T> {
    pub(crate) fn new(builder: u64, node: u32) -> Self {
        Self { raw: AnyPort { builder, node }, value: PhantomData }
    }

    /// Delivers `None` where the value will never come: its stage was skipped, or has failed (rule S-6).
    pub fn optional(self) -> OptionalPort<T> {
        OptionalPort(self)
    }

    /// Joins branches: delivers the first side, in written order, that completed (rule S-6).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use stageflow_core::{StageContext, stage_fn};
    /// # use stageflow_dag::Pipeline;
    /// # async fn same(_: StageContext, n: Arc<u32>) -> stageflow_core::StageResult<u32> { Ok(*n) }
    /// let mut p = Pipeline::builder("branches");
    /// let number = p.input();
    /// let small = p.stage("small", stage_fn(same)).when(number, |n| *n < 10).inputs(number);
    /// let large = p.stage("large", stage_fn(same)).when(number, |n| *n >= 10).inputs(number);
    /// let joined = p.stage("joined", stage_fn(same)).inputs(small.or(large));
    /// let pipeline: Pipeline<u32, u32> = p.build(joined)?;
    /// # Ok::<_, stageflow_dag::BuildError>(())
    /// ```
    pub fn or(self, other: impl Into<OrPort<T>>) -> OrPort<T> {
        OrPort::from(self).or(other)
    }

    /// The port without its type.
    pub fn erase(self) -> AnyPort {
        self.raw
    }
}

impl<T> OrPort<T> {
    /// Adds a side, or several, behind the others.
    #[must_use]
    pub fn or(mut self, other: impl Into<Self>) -> Self {
        self.sides.extend(other.into().sides);
        self
    }

    /// Delivers `None` where no side completed.
    pub fn optional(self) -> OptionalOrPort<T> {
        OptionalOrPort(self)
    }

    pub(crate) fn sides(&self) -> &[AnyPort] {
        &self.sides
    }
}

impl AnyPort {
    /// The builder's id, which the plan inherits.
    #[doc(hidden)]
    pub fn plan_id(self) -> u64 {
        self.builder
    }

    /// The stage's index, or [`INPUT`].
    #[doc(hidden)]
    pub fn index(self) -> u32 {
        self.node
    }
}

impl<T> Clone for Port<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Port<T> {}

impl<T> Clone for OptionalPort<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for OptionalPort<T> {}

impl<T> Clone for OrPort<T> {
    fn clone(&self) -> Self {
        Self { sides: self.sides.clone(), value: PhantomData }
    }
}

impl<T> Clone for OptionalOrPort<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> From<Port<T>> for OrPort<T> {
    fn from(port: Port<T>) -> Self {
        Self { sides: vec![port.raw], value: PhantomData }
    }
}

impl<T> From<Port<T>> for AnyPort {
    fn from(port: Port<T>) -> Self {
        port.raw
    }
}

impl<T> fmt::Debug for Port<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port<{}>({:?})", std::any::type_name::<T>(), self.raw)
    }
}

impl<T> fmt::Debug for OptionalPort<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}.optional()", self.0)
    }
}

impl<T> fmt::Debug for OrPort<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrPort<{}>({:?})", std::any::type_name::<T>(), self.sides)
    }
}

impl<T> fmt::Debug for OptionalOrPort<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}.optional()", self.0)
    }
}

impl fmt::Debug for AnyPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            INPUT => f.write_str("input"),
            node => write!(f, "stage {node}"),
        }
    }
}
