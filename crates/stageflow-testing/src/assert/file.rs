//! Traces in files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::trace::{TraceLines, dedent, difference};

/// The variable that has traces written instead of compared.
const UPDATE: &str = "STAGEFLOW_UPDATE";

#[doc(hidden)]
#[track_caller]
pub fn trace_file(actual: &(impl TraceLines + ?Sized), root: &str, path: impl AsRef<Path>) {
    let update = std::env::var_os(UPDATE).is_some_and(|value| value == "1");
    if let Err(problem) = check(&actual.trace_lines(), root, path.as_ref(), update) {
        panic!("{problem}");
    }
}

/// Compares lines with a file, or writes the file.
pub(super) fn check(actual: &[String], root: &str, path: &Path, update: bool) -> Result<(), String> {
    let file: PathBuf = Path::new(root).join(path);
    let name = path.display();
    let actual = dedent(actual.to_vec());
    if update {
        return write(&file, &actual).map_err(|error| format!("cannot write the trace `{name}`: {error}"));
    }
    let expected = match fs::read_to_string(&file) {
        Ok(text) => text.trace_lines(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let lines = actual.join("\n");
            return Err(format!("there is no trace `{name}`: set {UPDATE}=1 to write it\n{lines}"));
        }
        Err(error) => return Err(format!("cannot read the trace `{name}`: {error}")),
    };
    match difference(&dedent(expected), &actual) {
        None => Ok(()),
        Some(difference) => Err(format!(
            "the trace is not that of `{name}`: if it should be, set {UPDATE}=1 to write it\n{difference}"
        )),
    }
}

fn write(file: &Path, lines: &[String]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut text = lines.join("\n");
    text.push('\n');
    fs::write(file, text)
}
