//! Pictures: well-formed, with everything on them, and nothing upon another thing.

use std::sync::Arc;

use stageflow_core::{Randomness, StageInputs, StageKind, stage_fn, time::SeededRandom};

use super::{any, builds, next, single, zero};
use crate::{Pipeline, Port, names, svg};

/// Reads a document as strictly as a picture needs: every tag is closed in turn, every attribute quoted, every `&` an entity. Gives all
/// texts of titles, as they were before they were escaped.
fn titles(text: &str) -> Vec<String> {
    let mut open: Vec<&str> = Vec::new();
    let mut titles = Vec::new();
    let mut rest = text;
    while let Some((before, tag)) = rest.split_once('<') {
        let word = unescape(before);
        if open.last() == Some(&"title") {
            titles.push(word);
        } else if !["text", "tspan"].contains(open.last().unwrap_or(&"")) {
            assert_eq!(word.trim(), "", "text outside of its place");
        }
        let (tag, after) = tag.split_once('>').expect("a tag ends");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else {
            let closed = tag.strip_suffix('/');
            let (name, mut attributes) = closed.unwrap_or(tag).split_once(' ').unwrap_or((tag, ""));
            while let Some((key, value)) = attributes.trim_start().split_once("=\"") {
                assert!(key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == ':'), "{key}");
                let (value, after) = value.split_once('"').expect("a value ends");
                unescape(value);
                attributes = after;
            }
            assert_eq!(attributes.trim(), "", "{tag}");
            open.extend(closed.is_none().then_some(name));
        }
    }
    assert_eq!((rest.trim(), open.len()), ("", 0));
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'));
    titles
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, entity)) = rest.split_once('&') {
        let (entity, after) = entity.split_once(';').expect("an entity ends");
        let known = [("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"'), ("#39", '\'')];
        out.push_str(before);
        out.push(known.iter().find(|known| known.0 == entity).expect("a known entity").1);
        rest = after;
    }
    out.push_str(rest);
    assert!(!out.contains('\0'));
    out
}

type A = Arc<u32>;

const KINDS: [StageKind; 6] = StageKind::ALL;

/// Stages that read up to four of the ones before them, in all the ways there are.
fn random(rng: &SeededRandom, stages: usize) -> Pipeline<u32, u32> {
    let below = |limit: usize| usize::try_from(rng.next_u64() % limit as u64).unwrap();
    builds(|p| {
        let mut ports: Vec<Port<u32>> = vec![p.input()];
        for stage in 0..stages {
            let pick = || ports[ports.len() - 1 - below(ports.len().min(1 + below(12)))];
            let (a, b, c) = (pick(), pick(), pick());
            let long = "x".repeat(below(if below(6) == 0 { 60 } else { 8 }));
            let name = format!("s{stage:02}-{long}");
            let kind = KINDS[below(6)];
            let port = match below(7) {
                0 => p.stage(name, stage_fn(zero)).kind(kind).inputs(()),
                1 => p.stage(name, any::<(Option<A>, A)>()).kind(kind).inputs((a.optional(), b)),
                2 => p.stage(name, stage_fn(next)).kind(kind).inputs(a.or(b).or(c)),
                3 => p.stage(name, stage_fn(next)).kind(kind).when(a, |_| true).inputs(b),
                4 => p.stage(name, stage_fn(next)).kind(kind).after(a).after(b).inputs(c),
                5 => p.stage(name, any::<Vec<A>>()).kind(kind).inputs(vec![a, b, c]),
                _ => p.stage(name, stage_fn(next)).kind(kind).inputs(a),
            };
            ports.push(port);
        }
        *ports.last().unwrap()
    })
}

#[test]
fn nothing_is_drawn_upon_another_thing_and_edges_go_to_the_right() {
    let rng = SeededRandom::new(11);
    for _ in 0..150 {
        let pipeline = random(&rng, 1 + usize::try_from(rng.next_u64() % 70).unwrap());
        let (boxes, edges) = svg::boxes(pipeline.plan());
        assert!(boxes.len() > pipeline.len());
        for (index, a) in boxes.iter().enumerate() {
            assert!(a.left > 0 && a.top > 0);
            for b in &boxes[..index] {
                let apart = a.right() < b.left
                    || b.right() < a.left
                    || a.bottom() + 4 <= b.top
                    || b.bottom() + 4 <= a.top;
                assert!(apart, "{a:?} {b:?}\n{}", pipeline.to_tree());
            }
        }
        assert!(edges.iter().all(|(from, to)| from.right() + 40 < to.left));
    }
}

#[test]
fn every_name_and_every_edge_is_on_the_picture() {
    let rng = SeededRandom::new(12);
    for _ in 0..25 {
        let pipeline = random(&rng, 30);
        let picture = pipeline.to_svg();
        let titles = titles(&picture);
        for stage in pipeline.stages() {
            assert!(titles.contains(&format!("{}: {}", stage.name(), stage.kind())), "{titles:?}");
            for input in stage.inputs() {
                let arrow = format!("{} → {}", input.source().unwrap_or("input"), stage.name());
                assert!(titles.iter().any(|title| title.starts_with(&arrow)), "{arrow}");
            }
        }
        assert_eq!(picture, pipeline.to_svg());
    }
}

#[test]
fn a_picture_says_what_it_is_made_of() {
    let inner = single("inner", "only");
    let pipeline = builds(|p| {
        let input = p.input();
        let route = p.stage("route", stage_fn(next)).kind(StageKind::Route).inputs(input);
        let inner = p.stage("nested", inner).when(route, |_| true).inputs(input);
        p.stage("end", any::<(Option<A>, StageInputs)>()).inputs((inner.optional(), names(["route"])))
    });
    let picture = pipeline.to_svg();
    let titles = titles(&picture);
    let mut sorted = titles[1..].to_vec();
    sorted.sort();
    assert_eq!(titles[0], "p: u32 → u32, 3 stages");
    assert_eq!(
        sorted,
        [
            "end → output",
            "end: transform",
            "input → nested",
            "input → route",
            "input: u32",
            "nested → end (optional)",
            "nested: transform, a pipeline of 1",
            "output: u32",
            "route → end",
            "route → nested (when)",
            "route: route",
        ]
    );
    let legend = picture.rsplit_once("<g font-size").unwrap().1;
    let words: Vec<_> =
        legend.split("</text>").filter_map(|part| part.rsplit_once('>')).map(|part| part.1).collect();
    assert_eq!(words[..2], ["transform", "route"]);
    assert!(words.contains(&"optional") && words.contains(&"when: decides whether it runs"), "{words:?}");
    assert!(!words.iter().any(|word| word.starts_with("after") || word.starts_with("or")), "{words:?}");
}

#[test]
fn an_input_that_nobody_reads_is_not_drawn() {
    let pipeline = builds(|p| p.stage("alone", stage_fn(zero)).inputs(()));
    let titles = titles(&pipeline.to_svg());
    assert_eq!(titles, ["p: u32 → u32, 1 stage", "alone → output", "alone: transform", "output: u32"]);
}

#[test]
fn hostile_names_stay_texts() {
    let name = "</title><script>alert('&amp;\"')</script>]]>\u{FFFE}";
    let picture = single(name, name).to_svg();
    let titles = titles(&picture);
    let shown = name.replace('\u{FFFE}', " ");
    assert!(titles.contains(&format!("{shown}: transform")), "{titles:?}");
    assert!(!picture.contains("<script"));
}

#[test]
fn a_thousand_stages_side_by_side_and_one_after_the_other_are_drawn() {
    let wide = builds(|p| {
        let shards = p.parallel("shard", 0..1_000, |_| stage_fn(zero)).inputs(());
        p.stage("all", any::<Vec<A>>()).inputs(shards)
    });
    let long = builds(|p| {
        let first = p.input();
        let mut port = first;
        for step in 0..1_000 {
            port = p.stage(format!("step-{step}"), any::<(A, A)>()).inputs((port, first));
        }
        port
    });
    // The input's way past the steps is one for all of them.
    let (boxes, _) = svg::boxes(long.plan());
    assert!(boxes.len() < 1_000 + 2 + 1_000, "{}", boxes.len());
    for pipeline in [wide, long] {
        let picture = pipeline.to_svg();
        titles(&picture);
        assert!(picture.len() < 1_500_000, "{}", picture.len());
    }
}

#[test]
fn edges_that_pass_very_many_stages_go_straight_in_the_end() {
    let stages = 2_000;
    let pipeline = builds(|p| {
        let mut ports = vec![p.input()];
        for step in 0..stages {
            ports.push(p.stage(format!("step-{step}"), stage_fn(next)).inputs(ports[step]));
        }
        p.stage("all", any::<Vec<A>>()).inputs(ports)
    });
    // Each bend of its own would be two million.
    assert!(svg::boxes(pipeline.plan()).0.len() < 10 * stages);
    assert!(pipeline.to_svg().len() < 1_000 * stages);
}
