//! What is printed where: results on stdout, everything about them on stderr.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

use crate::exit::Exit;

/// Prints a result. That the reader has gone away, as `head` does, is no error of the command.
pub(crate) fn result(text: &str, exit: Exit) -> Exit {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => exit,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit,
        Err(error) => {
            complain(format_args!("error: the output cannot be written: {error}"));
            if exit == Exit::Done { Exit::Output } else { exit }
        }
    }
}

/// Says something to a person. Nobody can be told that this went wrong.
pub(crate) fn complain(text: impl Display) {
    // Names of files and words of the command line may hold what a terminal obeys.
    let mut clean = String::new();
    for c in text.to_string().chars() {
        if c.is_control() && c != '\n' { clean.extend(c.escape_default()) } else { clean.push(c) }
    }
    let _ = writeln!(io::stderr().lock(), "{clean}");
}

/// Writes to stderr without ending the line.
pub(crate) fn draw(text: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}
