//! Policies of other crates around a call that does nothing, each as the documentation of its crate says.

pub(crate) mod crates;
pub(crate) mod resilience;
pub(crate) mod tower;

use std::{error::Error, fmt, future::Future};

use ::tower::{Service, service_fn};

use crate::case::{Pair, Served};

/// How calls fail where a check wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("on purpose")
    }
}

impl Error for Failure {}

/// What the policies stand around.
pub(crate) trait Inner:
    Service<(), Response = (), Error = Failure, Future: Send> + Clone + Send + 'static
{
}

impl<S> Inner for S where S: Service<(), Response = (), Error = Failure, Future: Send> + Clone + Send + 'static
{}

/// A call that succeeds at once.
pub(crate) fn nothing() -> impl Inner {
    service_fn(|()| async { Ok::<(), Failure>(()) })
}

/// A call with this body.
pub(crate) fn calling<F, Fut>(body: F) -> impl Inner
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    service_fn(move |()| body())
}

/// The bare call beside the service that stands around it.
fn pair<S>(with: S) -> Pair
where
    S: Service<(), Response = (), Error: fmt::Debug, Future: Send> + Send + 'static,
{
    Pair::new(Served(nothing()), Served(with))
}
