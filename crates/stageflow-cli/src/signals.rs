//! Ctrl-C, and the request of the system to end.

use std::future::pending;

use crate::exit::Exit;

/// Who wants the command to end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    Interrupt,
    Terminate,
}

impl Signal {
    pub(crate) fn exit(self) -> Exit {
        match self {
            Self::Interrupt => Exit::Interrupted,
            Self::Terminate => Exit::Terminated,
        }
    }

    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Interrupt => "you pressed Ctrl-C",
            Self::Terminate => "the system asked to end",
        }
    }
}

/// Listens from the moment it is made. Where the system has no such thing, nothing ever comes.
pub(crate) struct Signals {
    #[cfg(unix)]
    streams: [Option<tokio::signal::unix::Signal>; 2],
}

impl Signals {
    #[cfg(unix)]
    pub(crate) fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self { streams: [signal(SignalKind::interrupt()).ok(), signal(SignalKind::terminate()).ok()] }
    }

    #[cfg(not(unix))]
    pub(crate) fn new() -> Self {
        Self {}
    }

    /// The next one. Dropping the future loses none.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) -> Signal {
        async fn of(stream: &mut Option<tokio::signal::unix::Signal>) {
            if let Some(stream) = stream
                && stream.recv().await.is_some()
            {
                return;
            }
            pending::<()>().await;
        }
        let [interrupt, terminate] = &mut self.streams;
        tokio::select! {
            () = of(interrupt) => Signal::Interrupt,
            () = of(terminate) => Signal::Terminate,
        }
    }

    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Interrupt,
            Err(_) => pending().await,
        }
    }
}
