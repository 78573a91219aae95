//! Pauses: a stage waits for an answer from outside, for as long as it takes.

use std::{
    borrow::Cow,
    fmt,
    marker::PhantomData,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Codec, Encoded};

/// A question to somebody outside, by name and with the type of its answer: the stage that asks and whoever answers share it.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use stageflow_core::{DurationExt, durable::Pause};
///
/// #[derive(Serialize, Deserialize)]
/// enum Approval { Granted, Refused { why: String } }
///
/// const APPROVAL: Pause<Approval> = Pause::new("approval");
/// let one_day = APPROVAL.expires_in(24.hours());
/// assert_eq!(one_day.token(), "approval");
/// ```
pub struct Pause<T> {
    token: Cow<'static, str>,
    expires_in: Option<Duration>,
    answer: PhantomData<fn() -> T>,
}

impl<T> Clone for Pause<T> {
    fn clone(&self) -> Self {
        Self { token: self.token.clone(), expires_in: self.expires_in, answer: PhantomData }
    }
}

impl<T> Pause<T> {
    /// A pause with a token that tells it from the other pauses of a run.
    pub const fn new(token: &'static str) -> Self {
        Self { token: Cow::Borrowed(token), expires_in: None, answer: PhantomData }
    }

    /// The same with another token: for a stage that asks several at once.
    #[must_use]
    pub fn named(&self, token: impl Into<String>) -> Self {
        Self { token: Cow::Owned(token.into()), ..self.clone() }
    }

    /// How long it waits, from when the run first asks; without a call, as long as the run may take. The time goes on while no process
    /// has the run.
    #[must_use]
    pub fn expires_in(&self, time: Duration) -> Self {
        Self { expires_in: Some(time), ..self.clone() }
    }

    /// Its token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// How long it waits.
    pub fn time(&self) -> Option<Duration> {
        self.expires_in
    }
}

impl<T: Serialize + DeserializeOwned> Pause<T> {
    /// How an answer is written.
    pub fn codec(&self) -> Codec<T> {
        Codec::json()
    }
}

impl<T> fmt::Debug for Pause<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pause").field("token", &self.token).field("expires_in", &self.expires_in).finish()
    }
}

/// A pause of a run, as a journal has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseRecord {
    /// The stage that asks.
    pub stage: String,
    /// Its token.
    pub token: String,
    /// When it was first opened.
    pub opened: SystemTime,
    /// Until when it waits.
    pub expires: Option<SystemTime>,
}

/// How a pause stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PauseState {
    /// It waits, until then.
    Open {
        /// When it ends without an answer.
        expires: Option<SystemTime>,
    },
    /// It has its answer.
    Answered(Encoded),
    /// Its time has ended without one.
    Expired,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answered {
    /// The pause has it.
    Taken,
    /// The pause had an answer before, and keeps that.
    AlreadyAnswered,
    /// The time of the pause has ended.
    Expired,
    /// No run of the tenant waits for it.
    NotWaiting,
}
