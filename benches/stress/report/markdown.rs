//! A report as Markdown.

use super::blocks::{Block, Table};

pub(crate) fn page(blocks: &[Block]) -> String {
    let mut out = String::new();
    for block in blocks {
        match block {
            Block::Heading(level, text) => {
                out += &format!("{} {text}\n\n", "#".repeat(usize::from(*level)));
            }
            Block::Text(text) => out += &format!("{text}\n\n"),
            Block::Warning(text) => out += &format!("> **{text}**\n\n"),
            Block::Table(shown) => table(shown, &mut out),
            // The figures of drawings are in tables; the page of HTML has the drawings.
            Block::Drawing(_) => {}
        }
    }
    out.replace("## Plots\n\n", "")
}

fn table(table: &Table, out: &mut String) {
    let row =
        |cells: &mut dyn Iterator<Item = String>| format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
    *out += &row(&mut table.head.iter().map(|cell| (*cell).to_owned()));
    *out += &row(&mut table.head.iter().map(|_| "---".to_owned()));
    for cells in &table.rows {
        *out += &row(&mut cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")));
    }
    out.push('\n');
}
