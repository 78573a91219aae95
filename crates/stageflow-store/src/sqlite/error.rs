//! What SQLite says, as an error with a place, a cause and a hint.

use std::path::Path;

use rusqlite::{Error, ErrorCode, ffi};
use stageflow_core::durable::{JournalError, JournalErrorKind};

/// Why a piece of work was not done.
pub(super) enum Stop {
    /// It may not be done, and nothing of it was.
    Refused(JournalError),
    /// SQLite does not do it.
    Sql(Error),
}

impl From<JournalError> for Stop {
    fn from(error: JournalError) -> Self {
        Self::Refused(error)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Sql(error)
    }
}

impl Stop {
    pub(super) fn at(self, path: &Path) -> JournalError {
        match self {
            Self::Refused(error) => error,
            Self::Sql(error) => journal_error(path, error),
        }
    }
}

/// Whether it makes no sense to try the same again at once.
pub(super) fn is_busy(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

pub(super) fn journal_error(path: &Path, error: Error) -> JournalError {
    let (kind, hint) = kind(&error);
    let journal = JournalError::new(kind, format!("{}: {error}", path.display())).source(error);
    match hint {
        Some(hint) => journal.hint(hint),
        None => journal,
    }
}

fn kind(error: &Error) -> (JournalErrorKind, Option<&'static str>) {
    use JournalErrorKind as Kind;
    let Some(code) = error.sqlite_error_code() else {
        // A column that is not what this code writes.
        return (Kind::Corrupt, None);
    };
    let extended = error.sqlite_error().map_or(0, |error| error.extended_code);
    match code {
        ErrorCode::DiskFull => (Kind::Full, None),
        ErrorCode::SystemIoFailure if extended == ffi::SQLITE_IOERR_SHMSIZE => (Kind::Full, None),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => (Kind::Corrupt, None),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            let hint =
                "another process holds the file: find it, or raise `busy_timeout` if it only takes its time";
            (Kind::Unavailable, Some(hint))
        }
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied => {
            let hint = "let this process write the file and the directory that it is in";
            (Kind::Unavailable, Some(hint))
        }
        ErrorCode::CannotOpen => {
            let hint = "make the directory, and let this process read and write in it";
            (Kind::Unavailable, Some(hint))
        }
        _ => (Kind::Unavailable, None),
    }
}
