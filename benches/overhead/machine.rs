//! On what the figures were measured.

use stageflow_benches::machine;

/// Machine, tools and commit.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    pub(crate) tokio: String,
    pub(crate) peers: Vec<String>,
    pub(crate) commit: String,
    pub(crate) date: String,
}

impl Machine {
    pub(crate) fn look() -> Self {
        Self {
            cpu: machine::processor(),
            cores: machine::cores(),
            kernel: machine::kernel(),
            rustc: machine::compiler(),
            tokio: machine::version("tokio"),
            peers: ["async_dag", "dagx", "dagrs", "graph-flow"]
                .map(|name| format!("{name} {}", machine::version(name)))
                .to_vec(),
            commit: machine::commit(),
            date: machine::date("+%Y-%m-%d"),
        }
    }

    /// What is known, with its name.
    pub(crate) fn rows(&self) -> [(&'static str, String); 7] {
        [
            ("processor", format!("{}, {} cores", self.cpu, self.cores)),
            ("kernel", format!("Linux {}", self.kernel)),
            ("compiler", format!("{}, profile bench", self.rustc)),
            ("tokio", format!("{}, multi-thread, 2 workers", self.tokio)),
            ("peers", self.peers.join(", ")),
            ("commit", self.commit.clone()),
            ("date", self.date.clone()),
        ]
    }
}
