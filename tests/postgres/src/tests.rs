//! The server ends with whoever it was started for.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{Cluster, Programs};

const CHILD: &str = "STAGEFLOW_TEST_POSTGRES_CHILD";

fn gone(folder: &Path) -> bool {
    (0..200).any(|_| {
        std::thread::park_timeout(Duration::from_millis(50));
        !folder.exists()
    })
}

fn server(folder: &Path) -> String {
    let file = std::fs::read_to_string(folder.join("data/postmaster.pid")).expect("the server runs");
    file.lines().next().expect("it has a number").to_owned()
}

/// Whether it runs: what has ended and waits for a parent that does not ask does not.
fn runs(process: &str) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", process]).output().expect("ps is there");
    let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

#[test]
fn a_dropped_cluster_is_gone() {
    let cluster = Cluster::start().unwrap_or_else(|error| panic!("{error}"));
    let folder = cluster.socket().to_owned();
    let server = server(&folder);
    assert!(runs(&server));
    drop(cluster);
    assert!(!folder.exists() && !runs(&server));
}

#[test]
fn it_crashes_and_comes_back() {
    let cluster = Cluster::start().unwrap_or_else(|error| panic!("{error}"));
    let before = server(cluster.socket());
    cluster.stop().expect("it stops");
    cluster.restart().expect("it starts");
    assert_ne!(before, server(cluster.socket()));
}

#[test]
fn the_cluster_of_a_killed_test_is_gone() {
    if std::env::var_os(CHILD).is_some() {
        let cluster = Cluster::start().unwrap_or_else(|error| panic!("{error}"));
        println!("\nfolder={}", cluster.socket().display());
        loop {
            std::thread::park();
        }
    }
    let mut child = Command::new(std::env::current_exe().expect("we are a program"))
        .args(["--exact", "tests::the_cluster_of_a_killed_test_is_gone", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts once more");
    let lines = BufReader::new(child.stdout.take().expect("it is a pipe")).lines().map_while(Result::ok);
    let folder = lines.filter_map(|line| Some(PathBuf::from(line.strip_prefix("folder=")?))).next();
    let folder = folder.expect("it has a cluster");
    let server = server(&folder);
    assert!(runs(&server));
    child.kill().expect("it is killed");
    child.wait().expect("it has ended");
    assert!(gone(&folder), "{} is still there", folder.display());
    assert!(!runs(&server));
}

#[test]
fn a_folder_without_programs_has_none() {
    assert_eq!(Programs::in_folder(Path::new("/")), None);
}
