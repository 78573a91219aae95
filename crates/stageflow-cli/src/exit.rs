//! How a command ends, as a number.

use std::process::ExitCode;

/// How a command ended. Scripts may rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The run completed; nothing was found; the picture was drawn.
    Done,
    /// The run failed, was denied, ran out of time or has no output.
    Failed,
    /// The command line makes no sense, or the input is none.
    Usage,
    /// The file of the pipeline cannot be read, is malformed, or is no pipeline that can be built.
    Spec,
    /// The run was cancelled by one of its stages or was not let in.
    Cancelled,
    /// `lint` found something.
    Findings,
    /// What was asked for could not be written.
    Output,
    /// Ctrl-C.
    Interrupted,
    /// Asked to end by the system.
    Terminated,
}

impl Exit {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Spec => 3,
            Self::Cancelled => 4,
            Self::Findings => 5,
            Self::Output => 6,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}
