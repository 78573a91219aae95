//! An order that outlives its processes: the first is killed in the middle of a stage, the second is stopped while somebody has to
//! approve, and the third ends it.
//!
//! ```text
//! cargo run --example durable
//! ```
//!
//! The processes are real: this program starts itself three times, and they share nothing but a file of SQLite. `order.rs` is the
//! pipeline, and what it does to the world outside; `worker.rs` is what each process does, and what a service of yours would do as well.
#![cfg_attr(unix, expect(clippy::print_stdout, reason = "an example talks"))]

#[cfg(unix)]
mod order;
#[cfg(unix)]
mod processes;
#[cfg(unix)]
mod worker;

#[cfg(unix)]
#[tokio::main]
async fn main() -> std::process::ExitCode {
    let done = match processes::folder_of_worker() {
        Some(folder) => worker::work(&folder).await.map(|()| true),
        None => processes::show().await,
    };
    match done {
        Ok(true) => std::process::ExitCode::SUCCESS,
        Ok(false) => std::process::ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(unix))]
fn main() {}

#[cfg(all(test, unix))]
mod tests {
    use super::{processes, worker};

    /// What the next test starts as its processes.
    #[tokio::test]
    async fn worker() {
        if let Some(folder) = processes::folder_of_worker() {
            worker::work(&folder).await.expect("it works");
        }
    }

    #[tokio::test]
    async fn nothing_is_done_twice() {
        assert!(processes::show().await.expect("three processes"));
    }
}
