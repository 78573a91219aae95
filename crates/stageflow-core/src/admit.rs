//! [`RunAdmission`]: a run that asks to be let in, as the interceptors of its engine see it.

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use crate::{
    event::{CustomEvent, FieldValue},
    id::{TenantId, UserId},
    snapshot::{ContextSnapshot, Identity, SnapshotBuilder},
};

/// A run that asks to be let in: what [`Interceptor::admit`](crate::Interceptor::admit) decides on.
///
/// ```
/// use stageflow_core::{
///     Call, ContextSnapshot, Interceptor, Layer, Next, RunAdmission, StageExit, StageResult, Value, intercept::Placement,
/// };
///
/// struct Staff;
///
/// impl Interceptor for Staff {
///     async fn around(&self, _call: &Call, next: Next<'_>) -> StageResult<Value> {
///         next.run().await
///     }
///
///     async fn admit(&self, run: &RunAdmission) -> StageResult<()> {
///         match run.identity().user_id() {
///             Some(user) if user.as_str() == "ada" => Ok(()),
///             _ => Err(StageExit::deny("not of the staff")),
///         }
///     }
///
///     fn placement(&self) -> Placement {
///         Placement::At(Layer::Authenticate)
///     }
/// }
///
/// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
/// let admits = |user: &str| {
///     let run = RunAdmission::for_test(ContextSnapshot::builder().user(user));
///     let admitted = pin!(Staff.admit(&run)).poll(&mut Context::from_waker(Waker::noop()));
///     matches!(admitted, Poll::Ready(Ok(())))
/// };
/// assert!(admits("ada") && !admits("eve"));
/// ```
pub struct RunAdmission {
    snapshot: Arc<ContextSnapshot>,
    emit: Box<dyn Fn(CustomEvent) + Send + Sync>,
    attached: Mutex<Vec<Arc<dyn Any + Send + Sync>>>,
    whose: OnceLock<(UserId, Option<TenantId>)>,
}

impl RunAdmission {
    #[doc(hidden)]
    pub fn new(snapshot: Arc<ContextSnapshot>, emit: impl Fn(CustomEvent) + Send + Sync + 'static) -> Self {
        Self { snapshot, emit: Box::new(emit), attached: Mutex::default(), whose: OnceLock::new() }
    }

    /// One without an engine, for tests of interceptors: its events go nowhere.
    pub fn for_test(snapshot: SnapshotBuilder) -> Self {
        Self::new(Arc::new(snapshot.build()), |_| {})
    }

    /// The immutable facts of the run.
    pub fn snapshot(&self) -> &ContextSnapshot {
        &self.snapshot
    }

    /// The ids of the run.
    pub fn identity(&self) -> &Identity {
        self.snapshot.identity()
    }

    /// Emits an event of the run, which is no stage's.
    pub fn emit<K, V>(&self, name: impl Into<String>, fields: impl IntoIterator<Item = (K, V)>)
    where
        K: Into<String>,
        V: Into<FieldValue>,
    {
        (self.emit)(CustomEvent::new(name, fields));
    }

    /// Attaches something to the run: once it is let in, it is in [`ContextSnapshot::attached`] of this run and of all its child runs.
    /// It is never serialised, and a builder that starts from such a snapshot has nothing of it.
    pub fn attach<T: Any + Send + Sync>(&self, value: T) {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(value));
    }

    /// Says whose the run is. Once it is let in, these are its ids where it has named none itself; what it has named stays. The
    /// first to say it is believed.
    pub fn identify(&self, user: UserId, tenant: Option<TenantId>) {
        self.whose.get_or_init(|| (user, tenant));
    }

    /// The run is let in: what was attached and said of it counts from now on.
    #[doc(hidden)]
    pub fn let_in(&self) {
        if let Some((user, tenant)) = self.whose.get() {
            self.snapshot.identify(user.clone(), tenant.clone());
        }
        let attached = std::mem::take(&mut *self.attached.lock().unwrap_or_else(PoisonError::into_inner));
        if !attached.is_empty() {
            self.snapshot.attached.0.get_or_init(|| attached.into());
        }
    }
}

impl fmt::Debug for RunAdmission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunAdmission").field("run", &self.identity().run_id()).finish_non_exhaustive()
    }
}

/// What was attached to a run when it was let in.
#[derive(Clone, Default)]
pub(crate) struct Attached(OnceLock<Arc<[Arc<dyn Any + Send + Sync>]>>);

impl Attached {
    pub(crate) fn of<T: Any + Send + Sync>(&self) -> impl Iterator<Item = &T> {
        self.0
            .get()
            .into_iter()
            .flat_map(|all| all.iter())
            .filter_map(|one| (&**one as &dyn Any).downcast_ref())
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attached({})", self.0.get().map_or(0, |all| all.len()))
    }
}
