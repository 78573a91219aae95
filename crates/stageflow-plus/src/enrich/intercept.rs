//! [`ContextWindow`] around the calls of stages, and the events of what it counts.

use std::any::Any;

use stageflow_core::Stage;
use stageflow_core::{
    Call, ErrorClass, FieldValue, Interceptor, Layer, Next, StageContext, StageExit, StageKind, StageResult,
    Value, code, intercept::Placement,
};
use stageflow_dag::{IntoStage, StageBuilder};

use super::{
    account::{Charged, ContextAccount, Place},
    fit::DoesNotFit,
    measure::Measure,
    run::ContextExt as _,
    shorten::Shorten,
    tracker::Truncation,
    types::Type,
    utilization::{ContextLevel, ContextUtilization},
    window::{ContextWindow, OverLimit},
};

impl Interceptor for ContextWindow {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        // The stage itself finds the account as well.
        let account = self.account(call.snapshot());
        let output = next.run().await?;
        Counting { window: self, account: &account, ctx: call.context() }.count(output)
    }

    fn name(&self) -> String {
        format!("ContextWindow(`{}`)", self.settings().name)
    }

    /// Around everything that may give another output, and inside of whoever keeps out.
    fn placement(&self) -> Placement {
        Placement::Outside(Layer::Idempotency)
    }

    fn always_calls(&self) -> bool {
        true
    }

    fn applies_to(&self, stage: &str, kind: StageKind) -> bool {
        self.counts(stage, kind)
    }
}

/// One output that is counted.
struct Counting<'a> {
    window: &'a ContextWindow,
    account: &'a ContextAccount,
    ctx: &'a StageContext,
}

impl Counting<'_> {
    fn count(&self, output: Value) -> StageResult<Value> {
        let settings = self.window.settings();
        let place = (self.ctx.index(), None);
        let Some(known) = settings.types.find(&output) else {
            self.account.not_measured(place, self.ctx.stage_name());
            self.ctx.emit("context.unmeasured", [("window", &*settings.name)]);
            return Ok(output);
        };
        let tokens = known.measure(&output, &*settings.counter);
        if settings.over == OverLimit::Record {
            let charged = self.account.charge(place, self.ctx.stage_name(), tokens);
            self.tell(None, tokens, &charged);
            return Ok(output);
        }
        self.count_within(known, output, place, tokens)
    }

    /// Counts an output for which there has to be room.
    fn count_within(&self, known: &Type, output: Value, place: Place, tokens: usize) -> StageResult<Value> {
        let settings = self.window.settings();
        let counter = &*settings.counter;
        let stage = self.ctx.stage_name();
        let held = match self.account.charge_or_hold(&place, stage, tokens) {
            Ok(charged) => {
                self.tell(None, tokens, &charged);
                return Ok(output);
            }
            Err(held) => held,
        };
        let refused = |why_not| {
            let now = self.account.utilization();
            self.over_limit(tokens, now, OverLimit::Fail);
            let error = DoesNotFit { what: stage.to_owned(), tokens, room: held.room, why_not };
            let error = format!("context window `{}` of {}: {error}", settings.name, now.limit());
            StageExit::failure(code::CONTEXT_WINDOW_EXCEEDED, ErrorClass::Permanent, error.into())
        };
        let cut = match (&known.cut, settings.over) {
            (Some(cut), OverLimit::Shorten) => cut,
            (None, OverLimit::Shorten) => return Err(refused("no strategy cuts its type")),
            _ => return Err(refused("it may not be cut")),
        };
        let (strategy, shorten) = cut;
        let Some(short) = shorten(&output, held.room, counter) else {
            return Err(refused("no part of it fits"));
        };
        let after = known.measure(&short.value, counter);
        if after > held.room {
            return Err(refused("what the strategy leaves of it does not fit"));
        }
        let now = self.account.utilization();
        let why = format!(
            "room for {} of {} tokens in the context window `{}`",
            held.room,
            now.limit(),
            settings.name
        );
        let charged = self.account.charge_cut(held, place, stage, tokens, after);
        self.over_limit(tokens, now, OverLimit::Shorten);
        self.ctx.truncations().record_in(
            self.ctx,
            Truncation {
                what: stage.to_owned(),
                why,
                strategy: strategy.to_string(),
                unit: short.unit,
                before: tokens,
                after,
                removed: short.removed,
                counter: counter.name().to_owned(),
                at: self.ctx.wall_time(),
            },
        );
        self.tell(None, after, &charged);
        Ok(short.value)
    }

    /// The events of an output that was counted.
    fn tell(&self, part: Option<&str>, tokens: usize, charged: &Charged) {
        let settings = self.window.settings();
        let (used, limit) = (charged.now.used(), charged.now.limit());
        let mut fields: Vec<(&str, FieldValue)> = vec![("window", (*settings.name).into())];
        fields.extend(part.map(|part| ("part", part.into())));
        fields.extend([("tokens", tokens.into()), ("used", used.into()), ("limit", limit.into())]);
        fields.push(("counter", settings.counter.name().into()));
        self.ctx.emit("context.measured", fields);
        if charged.is_near_now() {
            let fields: [(&str, FieldValue); 4] = [
                ("window", (*settings.name).into()),
                ("used", used.into()),
                ("limit", limit.into()),
                ("near_at", charged.now.near_percent().into()),
            ];
            self.ctx.emit("context.near_limit", fields);
        }
        if charged.now.level() == ContextLevel::Over {
            self.over_limit(tokens, charged.now, OverLimit::Record);
        }
    }

    fn over_limit(&self, tokens: usize, now: ContextUtilization, policy: OverLimit) {
        let fields: [(&str, FieldValue); 5] = [
            ("window", (*self.window.settings().name).into()),
            ("tokens", tokens.into()),
            ("used", now.used().into()),
            ("limit", now.limit().into()),
            ("policy", policy.as_str().into()),
        ];
        self.ctx.emit("context.over_limit", fields);
    }
}

/// Counts what a stage says itself.
pub(super) fn record(
    window: &ContextWindow,
    ctx: &StageContext,
    part: &str,
    tokens: usize,
) -> ContextUtilization {
    let account = window.account(ctx.snapshot());
    let charged = account.charge((ctx.index(), Some(part.into())), ctx.stage_name(), tokens);
    Counting { window, account: &account, ctx }.tell(Some(part), tokens, &charged);
    charged.now
}

/// A window around one stage, whatever its kind and name.
struct Around(ContextWindow);

impl Interceptor for Around {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        self.0.around(call, next).await
    }

    fn name(&self) -> String {
        Interceptor::name(&self.0)
    }

    fn placement(&self) -> Placement {
        self.0.placement()
    }

    fn always_calls(&self) -> bool {
        true
    }
}

/// Counts single stages against a context window, with the compiler checking that their outputs can be measured.
pub trait MeasuredIn<T>: Sized {
    /// Counts what this stage gives in `window`, whatever the kind and the name of the stage.
    ///
    /// ```
    /// use stageflow_core::{StageContext, StageResult, stage_fn};
    /// use stageflow_dag::Pipeline;
    /// use stageflow_plus::enrich::{ContextWindow, ItemCut, MeasuredIn as _};
    ///
    /// async fn search(_: StageContext, (): ()) -> StageResult<Vec<String>> { Ok(vec![]) }
    /// async fn profile(_: StageContext, (): ()) -> StageResult<String> { Ok(String::new()) }
    /// # async fn both(_: StageContext, _: (std::sync::Arc<Vec<String>>, std::sync::Arc<String>)) -> StageResult<()> { Ok(()) }
    ///
    /// let window = ContextWindow::tokens(8_000);
    /// let mut p = Pipeline::builder("answer");
    /// let profile = p.stage("profile", stage_fn(profile)).measured_in(&window).inputs(());
    /// let found = p.stage("search", stage_fn(search)).shortened_in(&window, ItemCut::newest_first()).inputs(());
    /// let pipeline = p.stage("both", stage_fn(both)).inputs((found, profile));
    /// # let pipeline: Pipeline<(), ()> = p.build(pipeline)?;
    /// # Ok::<_, stageflow_dag::BuildError>(())
    /// ```
    #[must_use]
    fn measured_in(self, window: &ContextWindow) -> Self;

    /// The same, and cuts what it gives by `strategy` where there is no room for it.
    #[must_use]
    fn shortened_in(self, window: &ContextWindow, strategy: impl Shorten<T>) -> Self;
}

impl<I, S, T> MeasuredIn<T> for StageBuilder<'_, I, S>
where
    S: IntoStage,
    S::Stage: Stage<Output = T>,
    T: Measure + Any + Send + Sync,
{
    fn measured_in(self, window: &ContextWindow) -> Self {
        self.intercept(Around(window.with(|it| it.types.know::<T>())))
    }

    fn shortened_in(self, window: &ContextWindow, strategy: impl Shorten<T>) -> Self {
        self.intercept(Around(window.with(|it| {
            it.types.cut(strategy);
            it.over = OverLimit::Shorten;
        })))
    }
}
