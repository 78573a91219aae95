//! Engines in one call: `Engine::production()` and `Engine::development()`.

mod console;
mod production;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::console::Console;
pub use self::production::Production;
use crate::{Engine, EngineBuilder};

/// The time of an attempt, in both presets: what ends in development ends in production.
const ATTEMPT: Duration = Duration::from_secs(30);

/// Engines that are furnished already. What they hold is printed by [`Engine::describe`], and every value of it can be replaced.
pub trait EngineExt: Sized {
    /// An engine that survives dependencies that fail, hang and come back, and more work than it can do.
    ///
    /// Who may run what is not decided: only [`authenticated`](Production::authenticated) or
    /// [`without_authentication`](Production::without_authentication) gives the builder to go on with.
    ///
    /// | what | value | why |
    /// |---|---|---|
    /// | retry of all kinds but work | 3 attempts of transient failures and timeouts, 200 ms doubled up to 30 s, full jitter | most faults are short; more attempts load those that are not. A stage of kind work may have had its effect. |
    /// | breaker of each stage of the kinds enrich, work and agent, per tenant | open for 10 s to 5 min, at half of at least 20 calls within 30 s | these call somebody else. What only computes fails by its inputs, and would be closed to good ones. |
    /// | time of an attempt | 30 s | nothing hangs for ever, and a slow answer still comes |
    /// | time of a stage | 2 min | three attempts, their delays, and a wait for an open breaker |
    /// | runs | 256 active; 256 wait for at most 2 s; refused from 384 until no more than 256 are left | memory is bounded; a burst waits, and what goes on is refused while there is still something left to answer with |
    /// | attempts | 512 at a time, 256 of them of one tenant | each may hold a socket, and a process often has 1,024; one tenant leaves room for the others |
    /// | failures, retry budget, nesting | fail fast; a fifth of the stages and ten; 16 deep | these are the defaults of every engine |
    ///
    /// Retry and breaker are [defaults](EngineBuilder::by_default): a stage, a pipeline or the engine that has its own has that alone,
    /// and around a pipeline in the place of a stage there are none. Nothing else has a default: no deadline, no idle timeout, no rate limit, no sink.
    ///
    /// ```
    /// use stageflow::{Layer, interceptors::Retry, prelude::*};
    ///
    /// let engine = Engine::production()
    ///     .without_authentication() // behind a gateway that has asked already
    ///     .attempt_timeout(5.secs()) // in place of 30 s
    ///     .by_default([StageKind::Agent], Retry::exponential(1.secs())) // models take longer to recover
    ///     .without_default(Layer::Breaker)
    ///     .build()?;
    /// println!("{}", engine.describe());
    /// # Ok::<_, stageflow::EngineBuildError>(())
    /// ```
    fn production() -> Production;

    /// An engine that hides nothing: the first failure is seen, and why.
    ///
    /// - Attempts end after 30 s, as in production. Nothing is tried again, no breaker opens, nobody is refused, and everybody may run everything.
    /// - To standard error it writes what the lint finds when a pipeline is first run, each failure of a stage and each try again, with code
    ///   and hint, and each run that does not complete. Of runs in which nothing happens it writes nothing.
    ///
    /// ```
    /// use stageflow::prelude::*;
    ///
    /// let engine = Engine::development().build()?;
    /// assert!(engine.describe().to_string().contains("authentication: none"));
    /// # Ok::<_, stageflow::EngineBuildError>(())
    /// ```
    fn development() -> EngineBuilder;
}

impl EngineExt for Engine {
    fn production() -> Production {
        Production::new()
    }

    fn development() -> EngineBuilder {
        let console = Console::new(std::io::stderr());
        let lints = console.clone();
        Self::builder().attempt_timeout(ATTEMPT).sink(console).on_lint(move |report| lints.write(report))
    }
}
