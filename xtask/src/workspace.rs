//! Facts about the workspace, as cargo tells them.

use crate::shell;
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A library under `crates/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Library {
    pub(crate) name: String,
    /// Sorted; without `default`.
    pub(crate) features: Vec<String>,
    pub(crate) has_default: bool,
}

/// Makes the root of the workspace the current directory, so that every path here is relative to it.
pub(crate) fn enter_root() -> Result<()> {
    let here =
        std::env::var_os("CARGO_MANIFEST_DIR").context("run me through cargo: `cargo xtask <command>`")?;
    let root = Path::new(&here).parent().context("xtask has no parent folder")?;
    std::env::set_current_dir(root).context("could not enter the root of the workspace")
}

/// Every library under `crates/`, in the order of their names.
pub(crate) fn libraries() -> Result<Vec<Library>> {
    let mut libraries =
        libraries_in(&metadata()?).context("`cargo metadata` has another form than expected")?;
    libraries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(libraries)
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let metadata = metadata()?;
    let dir = metadata["target_directory"].as_str().context("`cargo metadata` names no target directory")?;
    Ok(PathBuf::from(dir))
}

/// Whether any package of the workspace has an example.
pub(crate) fn has_examples() -> Result<bool> {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let mut targets = packages.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    Ok(targets.any(|target| is_kind(target, &["example"])))
}

fn metadata() -> Result<Value> {
    let text = shell::stdout(&mut shell::cargo(["metadata", "--format-version", "1", "--no-deps"]))?;
    serde_json::from_str(&text).context("`cargo metadata` printed something that is not JSON")
}

fn libraries_in(metadata: &Value) -> Option<Vec<Library>> {
    let crates = Path::new(metadata["workspace_root"].as_str()?).join("crates");
    let mut libraries = Vec::new();
    for package in metadata["packages"].as_array()? {
        let inside = Path::new(package["manifest_path"].as_str()?).starts_with(&crates);
        let targets = package["targets"].as_array()?;
        if !inside || !targets.iter().any(|target| is_kind(target, &["lib", "proc-macro"])) {
            continue;
        }
        let mut features: Vec<String> = package["features"].as_object()?.keys().cloned().collect();
        features.sort();
        let has_default = features.iter().any(|feature| feature == "default");
        features.retain(|feature| feature != "default");
        libraries.push(Library { name: package["name"].as_str()?.to_owned(), features, has_default });
    }
    Some(libraries)
}

fn is_kind(target: &Value, wanted: &[&str]) -> bool {
    let mut kinds = target["kind"].as_array().into_iter().flatten();
    kinds.any(|kind| kind.as_str().is_some_and(|kind| wanted.contains(&kind)))
}

#[cfg(test)]
mod tests;
