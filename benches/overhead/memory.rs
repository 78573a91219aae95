//! Bytes per stage: starts `stageflow-bench-memory`, whose allocator counts.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// One figure of the program that counts.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Bytes {
    pub(crate) name: String,
    pub(crate) bytes: f64,
}

pub(crate) fn measure() -> Result<Vec<Bytes>> {
    let output = Command::new(env!("CARGO_BIN_EXE_stageflow-bench-memory")).output();
    let output = output.context("the program that counts bytes starts")?;
    ensure!(output.status.success(), "it failed:\n{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).context("it prints UTF-8")?;
    let read = |line: &str| {
        let (name, bytes) = line.rsplit_once(' ')?;
        Some(Bytes { name: name.to_owned(), bytes: bytes.parse().ok()? })
    };
    let figures = text.lines().map(|line| read(line).with_context(|| format!("`{line}` is no figure")));
    let figures: Vec<Bytes> = figures.collect::<Result<_>>()?;
    print(&figures);
    Ok(figures)
}

pub(crate) fn print(figures: &[Bytes]) {
    crate::say("\nbytes of a run beyond its plan, at the peak");
    for Bytes { name, bytes } in figures {
        crate::say(format_args!("  {name:<40} {bytes:>12.1}"));
    }
}
