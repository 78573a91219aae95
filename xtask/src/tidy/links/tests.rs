//! Dead links are found, and what is no link is not.

use super::check;
use crate::tidy::sources::file;

/// The dead links of a page beside the file `docs/guide/a.md`.
fn dead(text: &str) -> Vec<String> {
    let files = [file("docs/guide/page.md", text), file("docs/guide/a.md", ""), file("README.md", "")];
    check(&files).into_iter().map(|problem| problem.to_string()).collect()
}

#[test]
fn a_dead_link_is_found_with_its_line() {
    let text = "# Page\n\nSee [a](a.md) and [b](b.md).\n";
    assert_eq!(dead(text), ["docs/guide/page.md:3: the link `b.md` leads nowhere"]);
    assert_eq!(dead("[b]: b.md\n").len(), 1);
    assert_eq!(dead("[b](<b c.md>)").len(), 1);
    assert_eq!(dead("[b](../../../README.md)").len(), 1);
}

#[test]
fn live_links_are_fine() {
    for text in [
        "[a](a.md)",
        "[a](./a.md#top)",
        "[a](a.md \"A\")",
        "[up](../../README.md)",
        "[folder](../guide/)",
        "[a]: a.md",
    ] {
        assert!(dead(text).is_empty(), "{text}");
    }
    assert!(dead("[root](../..)").is_empty());
}

#[test]
fn other_things_are_no_relative_links() {
    for text in [
        "[b](https://b.org)",
        "[b](#below)",
        "[b](mailto:b@b.org)",
        "[b](stageflow::Stage)",
        "`[b](b.md)`",
        "[^1]: a note",
    ] {
        assert!(dead(text).is_empty(), "{text}");
    }
    assert!(dead("```text\n[b](b.md)\n~~~\n[b](b.md)\n```\n").is_empty());
    assert_eq!(dead("```\ncode\n```\n[b](b.md)\n").len(), 1);
}
