//! Authentication around the calls of stages.

use std::{fmt, sync::Arc, time::Duration};

use stageflow_core::{
    AuthenticateFacts, Call, ContextSnapshot, FieldValue, Interceptor, Layer, Next, PolicyFacts,
    RunAdmission, RunId, StageKind, StageResult, Value, intercept::Placement,
};

use super::{
    Admitted, AuthError, AuthReason, Authenticated, Authenticator, Credentials, Principal, TIMEOUT, ask,
    asks::Asks, runs::Runs,
};

/// Lets nobody through but those whom an [`Authenticator`] knows.
///
/// It is an interceptor in [`Layer::Authenticate`], outermost of all. As one of an engine it decides on every run before anything of it
/// is evaluated, conditions included, and its child runs are let in with it; as one of a pipeline or a stage it decides when
/// a stage is called. Of a run's snapshot it takes the proof of an admission
/// ([`Admitted::apply`]), or else the [`Credentials`]; whatever else the caller says about itself counts for nothing. Clones share what
/// is known about runs: give one to the engine, and one with more scopes to a stage.
///
/// # Guarantees
///
/// - No code of a stage runs before the authenticator has said yes. An error, a panic and a timeout of it are a no.
/// - The authenticator is asked once per run and credentials, however many stages begin at once; a no holds for the whole run. A
///   child run takes over the answer of its parent.
/// - A run is let in if the principal has not expired, the run's tenant and user are its own where the run names them, and it has the
///   scopes that [`require`](Self::require) asks for. Every call is checked again: that the principal has not expired, and that it has
///   the scopes of its stage. A stage that has begun is not stopped when the principal expires, nor are its retries.
///
/// # Limits
///
/// Proofs of admission and credentials are never serialised: a run that is read back needs new ones. Answers of the last `max_runs` runs
/// are kept, and older ones asked for again; what an engine has let in needs none of them.
///
/// ```
/// use stageflow_core::StageKind;
/// use stageflow_interceptors::{AuthError, Authenticate, Authenticator, Credentials, Principal};
///
/// struct Keys;
///
/// impl Authenticator for Keys {
///     async fn authenticate(&self, credentials: &Credentials) -> Result<Principal, AuthError> {
///         if credentials.matches("k-1") {
///             return Ok(Principal::builder("ada").tenant("acme").scope("run").build());
///         }
///         Err(AuthError::invalid("no such key"))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Around every stage, as an interceptor of the engine:
/// let auth = Authenticate::new(Keys).require("run").require_for(StageKind::Work, "write");
///
/// // Before a run, so that its ids are those of the principal:
/// let admitted = auth.admit(&Credentials::api_key("k-1")).await?;
/// assert_eq!(admitted.principal().user().as_str(), "ada");
/// assert!(auth.admit(&Credentials::api_key("k-2")).await.is_err());
/// # Ok(())
/// # }
/// ```
pub struct Authenticate<A> {
    authenticator: Arc<A>,
    runs: Arc<Runs>,
    timeout: Duration,
    max_runs: usize,
    rules: Vec<(Where, Arc<str>)>,
}

/// Which stages a scope is required for.
#[derive(Clone)]
enum Where {
    Everywhere,
    Kind(StageKind),
    Stage(Box<str>),
}

/// What is attached to a run that was let in. Nobody else can make one.
struct LetIn {
    /// By the answers of which one, clones of it included.
    by: u64,
    principal: Principal,
}

/// What a run has shown.
enum Shown<'a> {
    Proof(&'a Authenticated),
    Credentials(&'a Credentials),
}

impl<A: Authenticator> Authenticate<A> {
    /// Asks this authenticator, for at most 10 seconds, and keeps the answers of the last 10,000 runs.
    pub fn new(authenticator: A) -> Self {
        Self::shared(Arc::new(authenticator))
    }

    /// The same with an authenticator that others use as well.
    pub fn shared(authenticator: Arc<A>) -> Self {
        Self { authenticator, runs: Arc::default(), timeout: TIMEOUT, max_runs: 10_000, rules: Vec::new() }
    }

    /// How long the authenticator may take; 10 seconds unless set. After that the answer is no.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Of how many runs the answers are kept; 10,000 unless set, and one at least.
    #[must_use]
    pub fn max_runs(mut self, runs: usize) -> Self {
        self.max_runs = runs;
        self
    }

    /// Requires a scope for all stages it stands around.
    #[must_use]
    pub fn require(self, scope: impl Into<Arc<str>>) -> Self {
        self.rule(Where::Everywhere, scope.into())
    }

    /// Requires a scope for the stages of a kind.
    #[must_use]
    pub fn require_for(self, kind: StageKind, scope: impl Into<Arc<str>>) -> Self {
        self.rule(Where::Kind(kind), scope.into())
    }

    /// Requires a scope for the stage of this name, in every pipeline it stands around.
    #[must_use]
    pub fn require_at(self, stage: impl Into<Box<str>>, scope: impl Into<Arc<str>>) -> Self {
        self.rule(Where::Stage(stage.into()), scope.into())
    }

    fn rule(mut self, at: Where, scope: Arc<str>) -> Self {
        self.rules.push((at, scope));
        self
    }

    /// Authenticates before a run begins.
    ///
    /// # Errors
    ///
    /// [`AuthError`] if the credentials are not good, and as well if the authenticator fails, panics or hangs.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the authenticator's.
    pub async fn admit(&self, credentials: &Credentials) -> Result<Admitted, AuthError> {
        let principal = ask(&*self.authenticator, credentials, self.timeout).await?;
        Ok(Admitted::by(&*self.authenticator, principal))
    }

    /// The principal of a run that was let through, for the code of its stages.
    pub fn principal(&self, run: &ContextSnapshot) -> Option<Principal> {
        if let Some(principal) = self.let_in(run) {
            return Some(principal.clone()).filter(|known| !known.is_expired());
        }
        let shown = Shown::of(run, &*self.authenticator).ok()?;
        let id = run.identity().run_id();
        let principal = match shown.accepted(id, &self.runs) {
            Some(principal) => principal.clone(),
            None => self.runs.known((id, shown.id()))?,
        };
        principal.check_run(run.identity()).is_ok().then_some(principal).filter(|known| !known.is_expired())
    }

    /// Of how many runs the answers are kept at the moment.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Lets `check` look at who calls, if that is proven.
    pub(super) async fn verify<T>(
        &self,
        ctx: &impl Asks,
        check: impl FnOnce(&Principal) -> Result<T, AuthError> + Send,
    ) -> Result<T, AuthError> {
        // Its ids were compared then, and they are the same for ever.
        if let Some(principal) = self.let_in(ctx.snapshot()) {
            principal.check_expiry(|| ctx.now())?;
            return check(principal);
        }
        let shown = Shown::of(ctx.snapshot(), &*self.authenticator)?;
        let run = ctx.snapshot().identity().run_id();
        let answer;
        let principal = match shown.accepted(run, &self.runs) {
            Some(principal) => principal,
            None => {
                answer = self.runs.answer((run, shown.id()), self.max_runs);
                let known = match answer.get() {
                    Some(known) => known,
                    // On the heap, for the first call of a run alone.
                    None => Box::pin(answer.get_or_init(|| self.first(ctx, &shown))).await,
                };
                let principal = known.as_ref().map_err(Clone::clone)?;
                if let Shown::Proof(proof) = shown {
                    proof.accept(run, self.runs.id);
                }
                principal
            }
        };
        principal.check_expiry(|| ctx.now())?;
        principal.check_run(ctx.snapshot().identity())?;
        check(principal)
    }

    /// The principal that this has let in for the run, or for the run it is a child of.
    fn let_in<'a>(&self, run: &'a ContextSnapshot) -> Option<&'a Principal> {
        run.attached::<LetIn>().find(|one| one.by == self.runs.id).map(|one| &one.principal)
    }

    /// What the first call of a run finds out for all of them.
    async fn first(&self, ctx: &impl Asks, shown: &Shown<'_>) -> Result<Principal, AuthError> {
        let of_parent = || self.runs.known((ctx.snapshot().parent()?.run, shown.id()));
        let (principal, by) = match shown {
            Shown::Proof(proof) => (proof.principal().clone(), "admission"),
            Shown::Credentials(credentials) => match of_parent() {
                Some(principal) => (principal, "parent"),
                None => (ask(&*self.authenticator, credentials, self.timeout).await?, "credentials"),
            },
        };
        principal.check_expiry(|| ctx.now())?;
        principal.check_run(ctx.snapshot().identity())?;
        let mut fields: Vec<(&str, FieldValue)> =
            vec![("principal", principal.user().as_str().into()), ("by", by.into())];
        fields.extend(principal.tenant().map(|tenant| ("tenant", tenant.as_str().into())));
        fields.extend(principal.organisation().map(|name| ("organisation", name.into())));
        ctx.tell("auth.accepted", fields);
        Ok(principal)
    }

    /// Of a run as a whole, or of one call.
    fn check_scopes(&self, call: Option<&Call>, principal: &Principal) -> Result<(), AuthError> {
        let asked = |at: &Where| match at {
            Where::Everywhere => true,
            Where::Kind(kind) => call.is_some_and(|call| *kind == call.stage_kind()),
            Where::Stage(name) => call.is_some_and(|call| **name == *call.stage_name()),
        };
        match self.rules.iter().find(|(at, scope)| asked(at) && !principal.has_scope(scope)) {
            Some((_, scope)) => {
                let error = AuthError::new(AuthReason::ScopeMissing).detail(format!("`{scope}`"));
                Err(error.of(principal))
            }
            None => Ok(()),
        }
    }

    async fn check(&self, call: &Call) -> Result<(), AuthError> {
        self.verify(call.context(), |principal| self.check_scopes(Some(call), principal)).await
    }

    async fn check_run(&self, run: &RunAdmission) -> Result<LetIn, AuthError> {
        let let_in = |principal: &Principal| {
            self.check_scopes(None, principal)?;
            Ok(LetIn { by: self.runs.id, principal: principal.clone() })
        };
        self.verify(run, let_in).await
    }
}

impl<'a> Shown<'a> {
    fn of<A: Authenticator>(run: &'a ContextSnapshot, authenticator: &A) -> Result<Self, AuthError> {
        let credentials = || run.extension().map(Self::Credentials);
        match run.extension::<Authenticated>() {
            Some(proof) if proof.is_by(authenticator) => Ok(Self::Proof(proof)),
            Some(_) => credentials().ok_or_else(|| AuthError::new(AuthReason::OtherAuthenticator)),
            None => credentials().ok_or_else(|| AuthError::new(AuthReason::Missing)),
        }
    }

    /// The principal of a proof that was found good in this run before: it is not looked for among the answers again.
    fn accepted(&self, run: RunId, runs: &Runs) -> Option<&'a Principal> {
        match self {
            Self::Proof(proof) if proof.is_accepted(run, runs.id) => Some(proof.principal()),
            _ => None,
        }
    }

    fn id(&self) -> u64 {
        match self {
            Self::Proof(proof) => proof.id(),
            Self::Credentials(credentials) => credentials.id(),
        }
    }
}

/// Emits that a call or a run was denied, and why.
pub(super) fn tell(ctx: &impl Asks, event: &str, error: &AuthError) {
    let mut fields: Vec<(&str, FieldValue)> = vec![("reason", error.reason().as_str().into())];
    fields.extend(error.principal().map(|user| ("principal", user.as_str().into())));
    ctx.tell(event, fields);
}

/// Events: `auth.accepted` (`principal`, `by`, `tenant`, `organisation`) when a run is let through, by its `credentials`, its
/// `admission` or its `parent`, and `auth.denied` (`reason`, and
/// `principal` where it is known) for each run and each call that is not.
impl<A: Authenticator> Interceptor for Authenticate<A> {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        match self.check(call).await {
            Ok(()) => next.run().await,
            Err(error) => {
                tell(call.context(), "auth.denied", &error);
                Err(error.into_exit())
            }
        }
    }

    async fn admit(&self, run: &RunAdmission) -> StageResult<()> {
        match self.check_run(run).await {
            Ok(let_in) => {
                let principal = &let_in.principal;
                run.identify(principal.user().clone(), principal.tenant().cloned());
                run.attach(let_in);
                Ok(())
            }
            Err(error) => {
                tell(run, "auth.denied", &error);
                Err(error.into_exit())
            }
        }
    }

    fn name(&self) -> String {
        format!("Authenticate({})", short_name::<A>())
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Authenticate)
    }

    fn describe(&self) -> PolicyFacts {
        let mut facts = AuthenticateFacts::new(self.timeout);
        facts.rules = self.rules.len();
        facts.into()
    }
}

impl<A> Clone for Authenticate<A> {
    fn clone(&self) -> Self {
        Self {
            authenticator: Arc::clone(&self.authenticator),
            runs: Arc::clone(&self.runs),
            timeout: self.timeout,
            max_runs: self.max_runs,
            rules: self.rules.clone(),
        }
    }
}

impl<A> fmt::Debug for Authenticate<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scopes: Vec<_> = self.rules.iter().map(|(_, scope)| scope).collect();
        f.debug_struct("Authenticate")
            .field("timeout", &self.timeout)
            .field("max_runs", &self.max_runs)
            .field("runs", &self.runs.len())
            .field("scopes", &scopes)
            .finish_non_exhaustive()
    }
}

/// The name of a type without its path.
fn short_name<A>() -> &'static str {
    let name = std::any::type_name::<A>();
    let path = name.split('<').next().unwrap_or(name);
    path.rsplit("::").next().unwrap_or(path)
}
