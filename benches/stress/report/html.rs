//! A report as one page of HTML: no scripts, nothing from elsewhere, readable by day and by night.

use super::{
    blocks::{Block, Table},
    svg::escaped,
};

const STYLE: &str = include_str!("style.css");

pub(crate) fn page(blocks: &[Block]) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
    out += &format!("<title>Load tests</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n");
    for block in blocks {
        match block {
            Block::Heading(level, text) => out += &format!("<h{level}>{}</h{level}>\n", escaped(text)),
            Block::Text(text) => out += &format!("<p>{}</p>\n", escaped(text)),
            Block::Warning(text) => out += &format!("<p class=\"warning\">{}</p>\n", escaped(text)),
            Block::Table(shown) => table(shown, &mut out),
            Block::Drawing(svg) => out += &format!("<figure>{svg}</figure>\n"),
        }
    }
    out + "</main>\n</body>\n</html>\n"
}

fn table(table: &Table, out: &mut String) {
    *out += "<div class=\"wide\"><table>\n<thead><tr>";
    for cell in &table.head {
        *out += &format!("<th scope=\"col\">{}</th>", escaped(cell));
    }
    *out += "</tr></thead>\n<tbody>\n";
    for row in &table.rows {
        *out += "<tr>";
        for cell in row {
            *out += &format!("<td{}>{}</td>", class(cell), escaped(cell));
        }
        *out += "</tr>\n";
    }
    *out += "</tbody></table></div>\n";
}

/// Verdicts have colours, besides their words.
fn class(cell: &str) -> &'static str {
    match cell {
        "PASS" | "held" => " class=\"good\"",
        "FAIL" | "ERROR" | "NOT_INJECTED" | "DID NOT HOLD" => " class=\"bad\"",
        "NOT_BUILT" => " class=\"later\"",
        number if is_number(number) => " class=\"number\"",
        _ => "",
    }
}

fn is_number(cell: &str) -> bool {
    !cell.is_empty() && cell.chars().all(|c| c.is_ascii_digit() || ",.-".contains(c))
}
