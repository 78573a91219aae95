//! Text of others on one line.

use std::{
    any::Any,
    fmt::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Prints control characters escaped: what a stage or a caller gave as a reason forges no line and no colour in a listing.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct OneLine<T>(pub T);

impl<T: fmt::Display> fmt::Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaped(f), "{}", self.0)
    }
}

struct Escaped<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| {
            if c.is_control() { write!(self.0, "{}", c.escape_default()) } else { self.0.write_char(c) }
        })
    }
}

/// What a panic says.
#[doc(hidden)]
pub fn panic_message(payload: Box<dyn Any + Send>) -> String {
    let message = payload
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is not a text".to_owned());
    // The payload is the user's as well.
    let _panicked = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    message
}
