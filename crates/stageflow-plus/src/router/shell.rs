//! What all routers have in common as stages: a name, a version, a limit for loops, and the record of each decision.

use std::sync::Arc;

use stageflow_core::{
    BoxError, Code, ErrorClass, FieldValue, StageContext, StageExit, StageResult, code, text::OneLine,
};

use super::{
    loops::LoopDetector,
    route::{Route, RouteKey, SkippedRoute, label, list},
};

/// The part of a router that records.
#[derive(Clone, Debug)]
pub(crate) struct Shell {
    pub(crate) name: Arc<str>,
    pub(crate) version: Option<Arc<str>>,
    pub(crate) loops: Option<LoopDetector>,
}

/// There is no route to take.
#[derive(Debug)]
pub(crate) struct NoRoute<R> {
    /// The reason code of the event.
    pub(crate) reason: &'static str,
    pub(crate) what: String,
    pub(crate) code: Code,
    pub(crate) class: ErrorClass,
    pub(crate) skipped: Vec<SkippedRoute<R>>,
}

impl<R> NoRoute<R> {
    /// None, and none in any other call with the same input.
    pub(crate) fn permanent(reason: &'static str, what: impl Into<String>) -> Self {
        let (code, class) = (code::NO_ROUTE, ErrorClass::Permanent);
        Self { reason, what: what.into(), code, class, skipped: Vec::new() }
    }
}

impl Shell {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name: name.into(), version: None, loops: None }
    }

    /// Records a decision, and gives it, unless it is one too many.
    pub(crate) fn decided<R: RouteKey>(&self, ctx: &StageContext, route: Route<R>) -> StageResult<Route<R>> {
        let name = label(route.route());
        let mut fields = self.fields();
        fields.push(("route", FieldValue::from(name.as_str())));
        fields.push(("reason", route.reason().as_str().into()));
        if !route.words().is_empty() {
            fields.push(("because", OneLine(route.words()).to_string().into()));
        }
        fields.push(("confidence", route.sureness().into()));
        if !route.skipped().is_empty() {
            fields.push(("skipped", list(route.skipped()).into()));
        }
        ctx.emit("route.decided", fields);
        if let Some(loops) = &self.loops {
            let chain = ctx.snapshot().root_run_id();
            if let Err(looped) = loops.take(&chain, &name) {
                let fields: [(&str, FieldValue); 4] = [
                    ("router", (*self.name).into()),
                    ("route", name.into()),
                    ("times", looped.times().into()),
                    ("path", looped.line().into()),
                ];
                ctx.emit("route.looped", fields);
                let error = BoxError::from(looped);
                return Err(StageExit::failure(code::ROUTE_LOOP, ErrorClass::Permanent, error));
            }
            self.forget_at_the_end(ctx, loops);
        }
        Ok(route)
    }

    /// A root run has no other behind it that goes on with its chain.
    fn forget_at_the_end(&self, ctx: &StageContext, loops: &LoopDetector) {
        if ctx.snapshot().parent().is_none() {
            let (loops, chain) = (loops.clone(), ctx.identity().run_id());
            ctx.on_cleanup(async move { loops.forget(&chain) });
        }
    }

    /// Records that there is no route, and fails.
    pub(crate) fn refused<R: RouteKey>(&self, ctx: &StageContext, none: NoRoute<R>) -> StageExit {
        self.emit_refused(ctx, none.reason, &none.skipped);
        let mut what = none.what;
        if !none.skipped.is_empty() {
            what = format!("{what}: {}", list(&none.skipped));
        }
        let what = format!("router `{}`: {what}", OneLine(&self.name));
        StageExit::failure(none.code, none.class, what.into())
    }

    pub(crate) fn emit_refused<R: RouteKey>(
        &self,
        ctx: &StageContext,
        reason: &'static str,
        skipped: &[SkippedRoute<R>],
    ) {
        let mut fields = self.fields();
        fields.push(("reason", reason.into()));
        if !skipped.is_empty() {
            fields.push(("skipped", list(skipped).into()));
        }
        ctx.emit("route.refused", fields);
    }

    fn fields(&self) -> Vec<(&'static str, FieldValue)> {
        let mut fields = vec![("router", FieldValue::from(&*self.name))];
        fields.extend(self.version.as_ref().map(|version| ("version", FieldValue::from(&**version))));
        fields
    }
}

/// The settings that every router has.
macro_rules! shell_setters {
    () => {
        /// Its name in events and errors; without a call, that of its kind.
        #[must_use]
        pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
            self.shell.name = name.into();
            self
        }

        /// The version of its rules, for the events.
        #[must_use]
        pub fn version(mut self, version: impl Into<Arc<str>>) -> Self {
            self.shell.version = Some(version.into());
            self
        }

        /// How often one run, together with its child runs, may take the same route. The next time fails with `ROUTE_LOOP`,
        /// class permanent, and the path; without a call there is no limit. Clones count together.
        #[must_use]
        pub fn max_times(mut self, limit: u32) -> Self {
            self.shell.loops = Some($crate::router::LoopDetector::new(limit));
            self
        }
    };
}

pub(crate) use shell_setters;
