//! Pages from a record: Markdown, and one HTML page. They know nothing but the parsed JSON.

mod blocks;
mod html;
mod markdown;
mod svg;

use anyhow::{Context, Result, bail};

use crate::harness::record::{Record, SCHEMA};

/// The report, in both forms.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) markdown: String,
    pub(crate) html: String,
}

/// Makes the report of a record.
pub(crate) fn from_json(text: &str) -> Result<Pages> {
    let record: Record = serde_json::from_str(text).context("this is no record of `cargo xtask stress`")?;
    if record.schema != SCHEMA {
        bail!("the record has schema {}, and this program knows {SCHEMA}", record.schema);
    }
    let blocks = blocks::of(&record);
    Ok(Pages { markdown: markdown::page(&blocks), html: html::page(&blocks) })
}

#[cfg(test)]
mod tests;
