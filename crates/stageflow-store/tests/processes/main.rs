//! The store in a file, under processes that die and disks that fail.
#![cfg(target_os = "linux")]

mod child;
mod crash;

mod duplicates;
mod faults;

mod kill;
mod kit;
