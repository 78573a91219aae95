//! Who runs this, for whom, until when: immutable, and the same for every stage of a run.

use std::{
    any::Any,
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    admit::Attached,
    budget::Budget,
    extensions::Extensions,
    id::{CorrelationId, InteractionId, RequestId, RunId, SessionId, TenantId, UserId},
    policy::Priority,
    run_local::RunLocal,
    sensitive::Sensitive,
    trace::{TraceContext, trace_id},
};

/// The ids of a run (rule S-31). All but the run's own are optional.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    run: RunId,
    request: Option<RequestId>,
    session: Option<SessionId>,
    user: Late<UserId>,
    tenant: Late<TenantId>,
    interaction: Option<InteractionId>,
    correlation: Option<CorrelationId>,
}

/// An id that may become known when a run is let in, if nobody has said it before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    from = "Option<T>",
    into = "Option<T>",
    bound(serialize = "T: Clone + Serialize", deserialize = "T: Deserialize<'de>")
)]
struct Late<T>(OnceLock<T>);

impl<T> From<Option<T>> for Late<T> {
    fn from(id: Option<T>) -> Self {
        Self(id.map_or_else(OnceLock::new, OnceLock::from))
    }
}

impl<T> From<Late<T>> for Option<T> {
    fn from(id: Late<T>) -> Self {
        id.0.into_inner()
    }
}

impl Identity {
    /// The run.
    pub fn run_id(&self) -> RunId {
        self.run
    }

    /// The request that started the run.
    pub fn request_id(&self) -> Option<&RequestId> {
        self.request.as_ref()
    }

    /// The session it belongs to.
    pub fn session_id(&self) -> Option<&SessionId> {
        self.session.as_ref()
    }

    /// The user it runs for.
    pub fn user_id(&self) -> Option<&UserId> {
        self.user.0.get()
    }

    /// The tenant it runs for.
    pub fn tenant_id(&self) -> Option<&TenantId> {
        self.tenant.0.get()
    }

    /// The interaction it answers.
    pub fn interaction_id(&self) -> Option<&InteractionId> {
        self.interaction.as_ref()
    }

    /// What ties it to its cause.
    pub fn correlation_id(&self) -> Option<&CorrelationId> {
        self.correlation.as_ref()
    }
}

/// The run that started this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its id.
    pub run: RunId,
    /// The stage of it that is this run.
    pub stage: String,
    /// How deep this run is nested; 1 for a child of a root run.
    pub depth: u32,
    /// Where this run is: the pipeline of the root run, and the stages that lead here, the last of which is `stage`.
    #[serde(default)]
    pub path: Vec<String>,
    /// The root run, with which the chain of child runs begins; `None` in what older versions have written.
    #[serde(default)]
    pub root: Option<RunId>,
}

/// The immutable facts of a run (rule S-31).
///
/// ```
/// use stageflow_core::{ContextSnapshot, Priority};
///
/// let snapshot = ContextSnapshot::builder().tenant("acme").priority(Priority::High).build();
/// assert_eq!(snapshot.identity().tenant_id().map(|t| t.as_str()), Some("acme"));
/// assert!(snapshot.identity().correlation_id().is_none());
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContextSnapshot {
    #[serde(deserialize_with = "known_schema")]
    schema: u32,
    identity: Identity,
    parent: Option<Parent>,
    pipeline: Arc<str>,
    execution_mode: Option<Arc<str>>,
    trace: Option<TraceContext>,
    priority: Priority,
    deadline: Option<Duration>,
    #[serde(default)]
    budget: Budget,
    #[serde(default)]
    metadata: BTreeMap<String, serde_json::Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    sensitive_metadata: BTreeMap<String, Sensitive<serde_json::Value>>,
    #[serde(default)]
    extensions: Extensions,
    #[serde(skip)]
    pub(crate) attached: Attached,
    #[serde(skip)]
    of_run: RunLocal,
}

/// The version of the serialised form.
const SCHEMA: u32 = 1;

/// A form that is newer than this code may mean something else by the same fields: it is not read as if it did not.
fn known_schema<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        SCHEMA => Ok(SCHEMA),
        other => Err(serde::de::Error::custom(format!(
            "a snapshot in form {other}, and this version of stageflow reads form {SCHEMA}: read it with the version that wrote it"
        ))),
    }
}

impl ContextSnapshot {
    /// A builder in which everything is optional.
    pub fn builder() -> SnapshotBuilder {
        SnapshotBuilder::default()
    }

    /// The ids.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whose the run is, as far as it has not said so.
    pub(crate) fn identify(&self, user: UserId, tenant: Option<TenantId>) {
        self.identity.user.0.get_or_init(|| user);
        if let Some(tenant) = tenant {
            self.identity.tenant.0.get_or_init(|| tenant);
        }
    }

    /// The tenant of a run that nobody has said one of.
    #[doc(hidden)]
    pub fn tenant_or(&self, tenant: impl FnOnce() -> TenantId) -> &TenantId {
        self.identity.tenant.0.get_or_init(tenant)
    }

    /// The run that started this one.
    pub fn parent(&self) -> Option<&Parent> {
        self.parent.as_ref()
    }

    /// The run with which the chain of child runs begins: this one, where no other has started it.
    pub fn root_run_id(&self) -> RunId {
        self.parent.as_ref().map_or(self.identity.run, |parent| parent.root.unwrap_or(parent.run))
    }

    /// The pipeline's name.
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// How the pipeline is meant to behave, in the application's own words.
    pub fn execution_mode(&self) -> Option<&str> {
        self.execution_mode.as_deref()
    }

    /// The trace the run belongs to.
    pub fn trace(&self) -> Option<&TraceContext> {
        self.trace.as_ref()
    }

    /// The id of the trace the run is part of: that of [`trace`](Self::trace), or else one that follows from the run's id.
    pub fn trace_id(&self) -> u128 {
        self.trace.map_or_else(|| trace_id(self.identity.run), |trace| trace.trace_id())
    }

    /// How urgent it is.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// How long the run may take, from its start.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// What the run and its child runs may use together; what is left of it is in [`StageContext::budget`](crate::StageContext::budget).
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The metadata under `key`.
    pub fn metadata(&self, key: &str) -> Option<&serde_json::Value> {
        self.metadata.get(key)
    }

    /// The sensitive metadata under `key`: whoever exposes it is answerable for where it goes.
    ///
    /// ```
    /// use stageflow_core::ContextSnapshot;
    ///
    /// let snapshot = ContextSnapshot::builder().sensitive_metadata("card", "4111").build();
    /// assert_eq!(snapshot.sensitive_metadata("card").map(|card| card.expose().clone()), Some("4111".into()));
    /// assert!(!format!("{snapshot:?}").contains("4111"));
    /// assert!(serde_json::to_string(&snapshot)?.contains(r#""sensitive_metadata":{"card":"[redacted]"}"#));
    /// # Ok::<_, serde_json::Error>(())
    /// ```
    pub fn sensitive_metadata(&self, key: &str) -> Option<&Sensitive<serde_json::Value>> {
        self.sensitive_metadata.get(key)
    }

    /// All metadata that is not sensitive, by key.
    pub fn all_metadata(&self) -> &BTreeMap<String, serde_json::Value> {
        &self.metadata
    }

    /// The extension of type `T`.
    pub fn extension<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.extensions.get()
    }

    /// All extensions.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// What interceptors of the engine attached when they let in the run, or the run it is a child of, as far as it is a `T`.
    pub fn attached<T: Any + Send + Sync>(&self) -> impl Iterator<Item = &T> {
        self.attached.of()
    }

    /// What a policy keeps for this run: made when it is first asked for, and dropped with the last who has the run, its report or its
    /// events. A child run has its own, and a builder that starts from this snapshot has nothing of it.
    #[doc(hidden)]
    pub fn of_run<T: Any + Send + Sync + Default>(&self) -> Arc<T> {
        self.of_run.get_or_make()
    }

    /// The same, if somebody has asked for it before.
    #[doc(hidden)]
    pub fn known_of_run<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.of_run.get()
    }

    /// The same as the snapshot of a child run of `parent`: what the parent was let in with, it is.
    #[doc(hidden)]
    #[must_use]
    pub fn within(mut self, parent: &Self) -> Self {
        self.attached = parent.attached.clone();
        self
    }

    /// A builder that starts from a copy of this snapshot, under a new run id; the original is unchanged.
    pub fn to_builder(&self) -> SnapshotBuilder {
        SnapshotBuilder {
            run: None,
            request: self.identity.request.clone(),
            session: self.identity.session.clone(),
            user: self.identity.user_id().cloned(),
            tenant: self.identity.tenant_id().cloned(),
            interaction: self.identity.interaction.clone(),
            correlation: self.identity.correlation.clone(),
            parent: self.parent.clone(),
            pipeline: Some(Arc::clone(&self.pipeline)),
            execution_mode: self.execution_mode.clone(),
            trace: self.trace,
            priority: self.priority,
            deadline: self.deadline,
            budget: self.budget,
            metadata: self.metadata.clone(),
            sensitive_metadata: self.sensitive_metadata.clone(),
            extensions: self.extensions.clone(),
        }
    }
}

/// Builds a [`ContextSnapshot`]; nothing is mandatory.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct SnapshotBuilder {
    run: Option<RunId>,
    request: Option<RequestId>,
    session: Option<SessionId>,
    user: Option<UserId>,
    tenant: Option<TenantId>,
    interaction: Option<InteractionId>,
    correlation: Option<CorrelationId>,
    parent: Option<Parent>,
    pipeline: Option<Arc<str>>,
    execution_mode: Option<Arc<str>>,
    trace: Option<TraceContext>,
    priority: Priority,
    deadline: Option<Duration>,
    budget: Budget,
    metadata: BTreeMap<String, serde_json::Value>,
    sensitive_metadata: BTreeMap<String, Sensitive<serde_json::Value>>,
    extensions: Extensions,
}

macro_rules! optional_fields {
    ($($(#[$doc:meta])* $name:ident: $ty:ty,)*) => {$(
        $(#[$doc])*
        pub fn $name(mut self, value: impl Into<$ty>) -> Self {
            self.$name = Some(value.into());
            self
        }
    )*};
}

impl SnapshotBuilder {
    optional_fields! {
        /// Sets the run id; a new one is made otherwise.
        run: RunId,
        /// Sets the request.
        request: RequestId,
        /// Sets the session.
        session: SessionId,
        /// Sets the user.
        user: UserId,
        /// Sets the tenant.
        tenant: TenantId,
        /// Sets the interaction.
        interaction: InteractionId,
        /// Sets the correlation id.
        correlation: CorrelationId,
        /// Sets the parent run.
        parent: Parent,
        /// Sets the pipeline's name.
        pipeline: Arc<str>,
        /// Sets the execution mode.
        execution_mode: Arc<str>,
        /// Sets the trace.
        trace: TraceContext,
        /// Sets how long the run may take, from its start.
        deadline: Duration,
    }

    /// Sets the priority.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets what the run and its child runs may use together; what `budget` does not say stays as it was set so far.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget.or(self.budget);
        self
    }

    /// Sets the parts of the budget that are not set so far.
    #[doc(hidden)]
    pub fn budget_or(mut self, budget: Budget) -> Self {
        self.budget = self.budget.or(budget);
        self
    }

    /// Adds metadata; what stood under `key` is replaced.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        let key = key.into();
        self.sensitive_metadata.remove(&key);
        self.metadata.insert(key, value.into());
        self
    }

    /// Adds metadata that is for stages and journals only, and `[redacted]` anywhere else; what stood under `key` is replaced.
    pub fn sensitive_metadata(mut self, key: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        let key = key.into();
        self.metadata.remove(&key);
        self.sensitive_metadata.insert(key, Sensitive::new(value.into()));
        self
    }

    /// Adds a typed extension; one of the same type is replaced.
    pub fn extension<T: Any + Send + Sync>(mut self, value: T) -> Self {
        self.extensions.insert(value);
        self
    }

    /// Replaces all extensions.
    pub fn extensions(mut self, extensions: Extensions) -> Self {
        self.extensions = extensions;
        self
    }

    /// Takes back the tenant set so far.
    pub fn without_tenant(mut self) -> Self {
        self.tenant = None;
        self
    }

    /// The tenant set so far.
    pub fn tenant_id(&self) -> Option<&TenantId> {
        self.tenant.as_ref()
    }

    #[doc(hidden)]
    pub fn run_set(&self) -> Option<RunId> {
        self.run
    }

    #[doc(hidden)]
    pub fn deadline_set(&self) -> Option<Duration> {
        self.deadline
    }

    /// Makes the snapshot. A run id that was not set is made from the wall clock and the thread's randomness.
    pub fn build(self) -> ContextSnapshot {
        self.build_with(RunId::new)
    }

    #[doc(hidden)]
    pub fn build_with(self, new_id: impl FnOnce() -> RunId) -> ContextSnapshot {
        ContextSnapshot {
            schema: SCHEMA,
            identity: Identity {
                run: self.run.unwrap_or_else(new_id),
                request: self.request,
                session: self.session,
                user: self.user.into(),
                tenant: self.tenant.into(),
                interaction: self.interaction,
                correlation: self.correlation,
            },
            parent: self.parent,
            pipeline: self.pipeline.unwrap_or_else(|| Arc::from("")),
            execution_mode: self.execution_mode,
            trace: self.trace,
            priority: self.priority,
            deadline: self.deadline,
            budget: self.budget,
            metadata: self.metadata,
            sensitive_metadata: self.sensitive_metadata,
            extensions: self.extensions,
            attached: Attached::default(),
            of_run: RunLocal::default(),
        }
    }
}
