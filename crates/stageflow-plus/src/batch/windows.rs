//! [`Windows`]: cuts what comes one by one into windows, by size, weight and time.

use std::{collections::VecDeque, error::Error, fmt, sync::Arc, time::Duration};

use stageflow_core::{Code, code};

use super::window::{ClosedBy, Window};

/// What becomes of a last window that was not closed by size, weight or time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LastWindow {
    /// It is a window like the others, with fewer items.
    #[default]
    Keep,
    /// Its fresh items are left out.
    Drop,
}

type Weigh<T> = Arc<dyn Fn(&T) -> u64 + Send + Sync>;

/// How what comes one by one is cut into windows: made by [`Windows::builder`].
///
/// # Boundaries
///
/// - A window is closed as soon as it has `size` items, or weighs `max_weight` or more, those that are repeated included.
/// - An item that would make it heavier than `max_weight` is the first fresh one of the next. There it comes with as many repeated
///   items as leave room for it; one that alone weighs more is a window of its own.
/// - A window is open for less than `every`, counted from when its first fresh item came: what comes at that moment or later is in
///   the next. Windows without fresh items do not exist.
/// - A window begins with the last `overlap` items of the one before, or with all of these if that had fewer.
/// - What is left at the end is a window, or is left out with [`LastWindow::Drop`]; it is none if it has no fresh item.
///
/// ```
/// use stageflow_plus::batch::{ClosedBy, Windows};
///
/// let windows = Windows::builder().size(4).overlap(1).build()?;
/// let cut: Vec<_> = windows.over(1..=8).collect();
///
/// let items: Vec<_> = cut.iter().map(|window| window.to_vec()).collect();
/// assert_eq!(items, [vec![1, 2, 3, 4], vec![4, 5, 6, 7], vec![7, 8]]);
/// assert_eq!((cut[2].repeated(), cut[2].closed_by()), (1, ClosedBy::End));
/// # Ok::<_, stageflow_plus::batch::WindowsError>(())
/// ```
pub struct Windows<T> {
    pub(super) size: usize,
    pub(super) overlap: usize,
    pub(super) every: Option<Duration>,
    max_weight: Option<(u64, Weigh<T>)>,
    last: LastWindow,
}

impl<T> Windows<T> {
    /// Windows to be described: at least one of `size`, `max_weight` and `every` is needed.
    pub fn builder() -> WindowsBuilder<T> {
        WindowsBuilder { size: None, overlap: 0, every: None, max_weight: None, last: LastWindow::Keep }
    }

    /// A cutter for one sequence of items.
    pub fn cutter(&self) -> Windower<T> {
        Windower {
            rules: self.clone(),
            open: Vec::new(),
            repeated: 0,
            weight: 0,
            opened: None,
            ready: VecDeque::new(),
            left_out: 0,
        }
    }
}

impl<T: Clone> Windows<T> {
    /// The windows over what is there already, one after the other. No time passes in it.
    pub fn over<I: IntoIterator<Item = T>>(&self, items: I) -> impl Iterator<Item = Window<T>> + use<I, T> {
        let (mut items, mut cutter) = (items.into_iter().fuse(), self.cutter());
        std::iter::from_fn(move || {
            loop {
                if let Some(window) = cutter.pop() {
                    return Some(window);
                }
                match items.next() {
                    Some(item) => cutter.push(Duration::ZERO, item),
                    None => {
                        cutter.finish();
                        return cutter.pop();
                    }
                }
            }
        })
    }
}

/// Cuts one sequence of items into windows: a state machine that is told what comes and what time it is.
///
/// Times count from any moment, and are expected to not go back. Memory is for one window and what is ready.
///
/// ```
/// use std::time::Duration;
/// use stageflow_plus::batch::{ClosedBy, Windows};
///
/// let second = Duration::from_secs;
/// let mut cutter = Windows::builder().every(second(10)).build()?.cutter();
/// cutter.push(second(0), "a");
/// cutter.push(second(9), "b");
/// assert_eq!(cutter.due(), Some(second(10)));
/// cutter.push(second(10), "c"); // at that moment the first is closed
/// let window = cutter.pop().expect("the first");
/// assert_eq!((&*window, window.closed_by()), (&["a", "b"][..], ClosedBy::Time));
/// # Ok::<_, stageflow_plus::batch::WindowsError>(())
/// ```
pub struct Windower<T> {
    rules: Windows<T>,
    /// What the open window has, those that are repeated first.
    open: Vec<T>,
    repeated: usize,
    weight: u64,
    /// When its first fresh item came.
    opened: Option<Duration>,
    ready: VecDeque<Window<T>>,
    left_out: usize,
}

impl<T: Clone> Windower<T> {
    /// An item comes.
    pub fn push(&mut self, now: Duration, item: T) {
        self.tick(now);
        let most = self.rules.max_weight.as_ref().map_or(u64::MAX, |(most, _)| *most);
        let weight = self.rules.weigh(&item);
        if self.opened.is_some() && self.weight.saturating_add(weight) > most {
            self.close(ClosedBy::Weight);
        }
        while self.opened.is_none() && self.repeated > 0 && self.weight.saturating_add(weight) > most {
            self.open.remove(0);
            self.repeated -= 1;
            self.weight = self.rules.weight_of(&self.open);
        }
        self.open.push(item);
        self.weight = self.weight.saturating_add(weight);
        self.opened.get_or_insert(now);
        if self.open.len() >= self.rules.size {
            self.close(ClosedBy::Size);
        } else if self.rules.max_weight.is_some() && self.weight >= most {
            self.close(ClosedBy::Weight);
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) {
        if self.due().is_some_and(|due| due <= now) {
            self.close(ClosedBy::Time);
        }
    }

    /// When the open window will be closed, if it is for its time.
    pub fn due(&self) -> Option<Duration> {
        Some(self.opened?.saturating_add(self.rules.every?))
    }

    /// Nothing comes any more.
    pub fn finish(&mut self) {
        if self.opened.is_some() {
            match self.rules.last {
                LastWindow::Keep => self.close(ClosedBy::End),
                LastWindow::Drop => {
                    self.left_out += self.open.len() - self.repeated;
                    self.opened = None;
                }
            }
        }
        self.open.clear();
        (self.repeated, self.weight) = (0, 0);
    }

    /// The next window that is closed.
    pub fn pop(&mut self) -> Option<Window<T>> {
        self.ready.pop_front()
    }

    /// How many items were left out at the end.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    fn close(&mut self, by: ClosedBy) {
        let from = self.open.len().saturating_sub(self.rules.overlap);
        let next = self.open.get(from..).unwrap_or_default().to_vec();
        let items = std::mem::replace(&mut self.open, next);
        self.ready.push_back(Window { items, repeated: self.repeated, by });
        self.repeated = self.open.len();
        self.weight = self.rules.weight_of(&self.open);
        self.opened = None;
    }
}

impl<T> Windows<T> {
    fn weigh(&self, item: &T) -> u64 {
        self.max_weight.as_ref().map_or(0, |(_, weigh)| weigh(item))
    }

    fn weight_of(&self, items: &[T]) -> u64 {
        items.iter().fold(0, |sum, item| u64::saturating_add(sum, self.weigh(item)))
    }
}

/// [`Windows`] to be described: made by [`Windows::builder`].
#[must_use = "windows are made by `build`"]
pub struct WindowsBuilder<T> {
    size: Option<usize>,
    overlap: usize,
    every: Option<Duration>,
    max_weight: Option<(u64, Weigh<T>)>,
    last: LastWindow,
}

impl<T> WindowsBuilder<T> {
    /// How many items a window has, those that are repeated included.
    pub fn size(mut self, items: usize) -> Self {
        self.size = Some(items);
        self
    }

    /// How many items of a window are repeated at the beginning of the next; none unless set.
    pub fn overlap(mut self, items: usize) -> Self {
        self.overlap = items;
        self
    }

    /// How heavy a window may be, and what an item weighs: bytes, tokens.
    pub fn max_weight(mut self, weight: u64, weigh: impl Fn(&T) -> u64 + Send + Sync + 'static) -> Self {
        self.max_weight = Some((weight, Arc::new(weigh)));
        self
    }

    /// How long a window stays open, from its first fresh item. It counts for a stream; what is in a list comes at one moment.
    pub fn every(mut self, time: Duration) -> Self {
        self.every = Some(time);
        self
    }

    /// What becomes of the last window if it is not full; [`LastWindow::Keep`] unless set.
    pub fn last(mut self, last: LastWindow) -> Self {
        self.last = last;
        self
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// [`WindowsError`] if windows would never end, or never advance.
    pub fn build(self) -> Result<Windows<T>, WindowsError> {
        let has_end = self.size.is_some() || self.max_weight.is_some() || self.every.is_some();
        let weight = self.max_weight.as_ref().map(|(weight, _)| *weight);
        let problems: Vec<_> = [
            (!has_end, "there is no `size`, no `max_weight` and no `every`, and no window would end"),
            (self.size == Some(0), "`size` is 0, and no window could have an item"),
            (weight == Some(0), "`max_weight` is 0, and no window could have an item"),
            (self.every == Some(Duration::ZERO), "`every` is 0, and no window could have an item"),
            (
                self.size.is_some_and(|size| size > 0 && size <= self.overlap),
                "`overlap` is not below `size`, and no window would have a fresh item",
            ),
        ]
        .into_iter()
        .filter_map(|(is_wrong, problem)| is_wrong.then_some(problem))
        .collect();
        if !problems.is_empty() {
            return Err(WindowsError { problems });
        }
        Ok(Windows {
            size: self.size.unwrap_or(usize::MAX),
            overlap: self.overlap,
            every: self.every,
            max_weight: self.max_weight,
            last: self.last,
        })
    }
}

/// Windows cannot be built. Lists every problem, not only the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowsError {
    problems: Vec<&'static str>,
}

impl WindowsError {
    /// Every problem; never empty.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().copied()
    }

    /// The code: `INVALID_POLICY`.
    pub fn code(&self) -> Code {
        code::INVALID_POLICY
    }
}

impl fmt::Display for WindowsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the windows cannot be built: {}", self.problems.join("; "))
    }
}

impl Error for WindowsError {}

impl<T> Clone for Windows<T> {
    fn clone(&self) -> Self {
        Self { max_weight: self.max_weight.clone(), ..*self }
    }
}

impl<T> fmt::Debug for Windows<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Windows")
            .field("size", &self.size)
            .field("overlap", &self.overlap)
            .field("max_weight", &self.max_weight.as_ref().map(|(weight, _)| weight))
            .field("every", &self.every)
            .field("last", &self.last)
            .finish()
    }
}

impl<T> fmt::Debug for Windower<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Windower").field("open", &self.open.len()).field("ready", &self.ready.len()).finish()
    }
}

impl<T> fmt::Debug for WindowsBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WindowsBuilder")
    }
}
