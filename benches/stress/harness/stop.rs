//! What ends a campaign before its end: Ctrl-C, or the time limit.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;

use super::clock::Moment;

/// Tells whether the campaign has to end.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    interrupted: watch::Receiver<bool>,
    until: Option<Moment>,
}

impl Stop {
    /// Listens for Ctrl-C, on a thread of its own so that no load keeps it from being heard.
    pub(crate) fn listen(limit: Option<Duration>) -> Result<Self> {
        let (interrupt, interrupted) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (ready, is_ready) = std::sync::mpsc::channel();
        let listener = std::thread::Builder::new().name("ctrl-c".to_owned());
        listener.spawn(move || {
            runtime.block_on(async {
                let ctrl_c = tokio::signal::ctrl_c();
                let _ = ready.send(());
                if ctrl_c.await.is_ok() {
                    let _ = interrupt.send(true);
                    // The sender stays, so that nobody takes its end for an answer.
                    std::future::pending::<()>().await;
                }
            });
        })?;
        is_ready.recv().context("the listener for Ctrl-C did not start")?;
        Ok(Self { interrupted, until: limit.map(|limit| Moment::now().plus(limit)) })
    }

    /// Why the campaign has to end now, if it has.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        if *self.interrupted.borrow() {
            Some("interrupted")
        } else if self.left().is_some_and(|left| left.is_zero()) {
            Some("the time limit was reached")
        } else {
            None
        }
    }

    /// The time that is left, where there is a limit.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.until.map(|until| until.since(Moment::now()))
    }

    /// Waits until the campaign has to end, and says why.
    pub(crate) async fn asked(&self) -> &'static str {
        let mut interrupted = self.interrupted.clone();
        let limit = async {
            match self.left() {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            heard = interrupted.wait_for(|interrupted| *interrupted) => match heard {
                Ok(_) => "interrupted",
                Err(_) => std::future::pending().await,
            },
            () = limit => "the time limit was reached",
        }
    }
}
