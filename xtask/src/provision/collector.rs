//! `rotel`, an OpenTelemetry collector written in Rust, whose wheel on PyPI contains the binary.

use super::wheel::{Package, Wheel};
use crate::workspace;
use anyhow::{Result, bail};
use std::path::PathBuf;

const VERSION: &str = "0.0.1a15";

const ROTEL: Package =
    Package { name: "rotel", version: VERSION, wheels: WHEELS, folders: &["rotel"], programs: &["rotel"] };

const WHEELS: &[Wheel] = &[
    Wheel {
        os: "linux",
        arch: "x86_64",
        platform: "manylinux_2_34_x86_64",
        sha256: "2f4117e58410c933e0dc042a268ef738dab2e3a5d63b5831209acdac2a6ddcb7",
    },
    Wheel {
        os: "linux",
        arch: "aarch64",
        platform: "manylinux_2_34_aarch64",
        sha256: "4eb01f9e5d228e4086f63e16cf1d0fa6e92b724bde51f120932a742acec5b0ba",
    },
    Wheel {
        os: "macos",
        arch: "aarch64",
        platform: "macosx_12_3_arm64",
        sha256: "bcb27da321920ef4ba36367f6c51b22f0d69535e43bdf22f9a593384be87a55f",
    },
];

/// Where the binary is, put there if it is not.
pub(super) fn collector() -> Result<PathBuf> {
    let here = workspace::target_dir()?.join("tools").join(format!("rotel-{VERSION}"));
    let binary = here.join("rotel").join("rotel-agent");
    if binary.is_file() {
        return Ok(binary);
    }
    println!(
        "rotel {VERSION} is the real collector of the tests and of the example `observed`; it is not there, so it is"
    );
    println!("fetched from PyPI into {}, once", here.display());
    ROTEL.fetch(&here)?;
    if !binary.is_file() {
        bail!("the wheel of rotel {VERSION} has no rotel/rotel-agent");
    }
    Ok(binary)
}
