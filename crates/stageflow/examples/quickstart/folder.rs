//! Which files a folder holds, and what is wrong with those that cannot be listed.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// More files than anybody waits for in an example, and what three digits can number.
const MOST: usize = 999;

/// A file to be read, with the name people see.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    pub(crate) name: String,
}

/// The text files of a folder and of those below it, in the order of their names.
pub(crate) struct Folder {
    pub(crate) name: String,
    pub(crate) files: Vec<SourceFile>,
    /// Files that are no text by their name.
    pub(crate) others: usize,
    /// What could not be listed, and why.
    pub(crate) unlisted: Vec<(String, String)>,
    /// There were more than [`MOST`].
    pub(crate) is_cut: bool,
}

/// A folder from which nothing can be read.
#[derive(Debug)]
pub(crate) enum FolderError {
    Missing(PathBuf),
    NotAFolder(PathBuf),
    Unreadable(PathBuf, io::Error),
    NoText { folder: PathBuf, others: usize, unlisted: usize },
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "`{}` does not exist", path.display()),
            Self::NotAFolder(path) => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let parent = parent.unwrap_or(Path::new("."));
                write!(f, "`{}` is no folder: try `{}`, where it is", path.display(), parent.display())
            }
            Self::Unreadable(path, error) => write!(f, "`{}` cannot be read: {error}", path.display()),
            Self::NoText { folder, others, unlisted } => {
                write!(f, "`{}` holds no text or Markdown file", folder.display())?;
                if *others > 0 {
                    write!(f, ", only {}", count(*others, "other file"))?;
                }
                if *unlisted > 0 {
                    write!(f, "; {} in it cannot be read", count(*unlisted, "folder"))?;
                }
                Ok(())
            }
        }
    }
}

impl Folder {
    pub(crate) fn read(root: &Path) -> Result<Self, FolderError> {
        match fs::metadata(root) {
            Ok(data) if data.is_dir() => {}
            Ok(_) => return Err(FolderError::NotAFolder(root.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(FolderError::Missing(root.to_owned()));
            }
            Err(error) => return Err(FolderError::Unreadable(root.to_owned(), error)),
        }
        if let Err(error) = fs::read_dir(root) {
            return Err(FolderError::Unreadable(root.to_owned(), error));
        }
        let mut folder =
            Self { name: name_of(root), files: Vec::new(), others: 0, unlisted: Vec::new(), is_cut: false };
        let mut open = vec![root.to_owned()];
        while let Some(next) = open.pop() {
            if let Err(error) = folder.list(root, &next, &mut open) {
                folder.unlisted.push((relative(root, &next), error.to_string()));
            }
        }
        folder.files.sort_by(|a, b| a.path.cmp(&b.path));
        folder.is_cut = folder.files.len() > MOST;
        folder.files.truncate(MOST);
        if folder.files.is_empty() {
            let (others, unlisted) = (folder.others, folder.unlisted.len());
            return Err(FolderError::NoText { folder: root.to_owned(), others, unlisted });
        }
        Ok(folder)
    }

    /// Lists one folder. Hidden ones are left out, and links to folders too: they may lead in circles.
    fn list(&mut self, root: &Path, folder: &Path, open: &mut Vec<PathBuf>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            let is_link = path.is_symlink();
            match (is_hidden, path.is_dir()) {
                (true, _) => {}
                (false, true) if is_link => {}
                (false, true) => open.push(path),
                (false, false) if is_text(&path) => {
                    let name = relative(root, &path);
                    self.files.push(SourceFile { path, name });
                }
                (false, false) => self.others += 1,
            }
        }
        Ok(())
    }
}

fn is_text(path: &Path) -> bool {
    const ENDINGS: [&str; 6] = ["md", "markdown", "txt", "text", "rst", "adoc"];
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// The path as the user would write it, from where the user is.
fn name_of(root: &Path) -> String {
    let here = std::env::current_dir().ok();
    let short = here.as_deref().and_then(|here| root.strip_prefix(here).ok());
    let short = short.filter(|short| !short.as_os_str().is_empty()).unwrap_or(root);
    short.display().to_string()
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
