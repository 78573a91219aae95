//! Panics that are injected are not printed; all others are.

/// How the message of an injected panic begins.
pub(crate) const INJECTED: &str = "injected:";

/// Keeps quiet about injected panics from now on.
pub(crate) fn quiet() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.payload_as_str().is_some_and(|message| message.starts_with(INJECTED)) {
            print(info);
        }
    }));
}
