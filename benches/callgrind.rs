//! Counts instructions, which are the same on any machine: a bench runs itself under valgrind's callgrind.
//!
//! Counting begins at zero when `counted_from_here` is called, and goes on to the end of the process.

use std::{
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};

/// Why nothing can be counted, if so.
pub fn missing() -> Option<&'static str> {
    let there = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    let is_there = there.is_ok_and(|status| status.success());
    (!is_there).then_some("valgrind is not installed: `apt-get install valgrind`")
}

/// All instructions of this program, started with these arguments, from [`counted_from_here`] on.
///
/// # Errors
///
/// The program fails, or valgrind does.
pub fn instructions(name: &str, args: &[String]) -> Result<u64> {
    let this = std::env::current_exe().context("this program has a path")?;
    let file = std::env::temp_dir().join(format!("callgrind.out.{}.{name}", std::process::id()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--zero-before=*counted_from_here*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(this)
        .args(args)
        .output()
        .context("valgrind starts")?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind failed on {name}:\n{log}");
    let counts =
        std::fs::read_to_string(&file).with_context(|| format!("valgrind wrote no counts:\n{log}"))?;
    std::fs::remove_file(&file).context("its file can be removed")?;
    let total = counts.lines().find_map(|line| line.strip_prefix("totals:")?.trim().parse().ok());
    total.context("valgrind wrote no total")
}

/// Counts each of these, as many at a time as the machine has cores: counts do not depend on how busy it is.
pub fn each<T: Sync, R: Send>(todo: &[T], count: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = Mutex::new(todo.iter().enumerate());
    let done = Mutex::new(Vec::new());
    let work = || {
        loop {
            let taken = next.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((index, one)) = taken else { return };
            let counted = count(one);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((index, counted));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, counted)| counted).collect()
}

/// Valgrind forgets what it has counted when this is called.
#[inline(never)]
pub fn counted_from_here() {
    std::hint::black_box(());
}
