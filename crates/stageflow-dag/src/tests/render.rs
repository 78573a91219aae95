//! Renderings: what they look like, that they are linear, and that no name breaks out of them.

use std::sync::Arc;

use stageflow_core::{Owned, StageKind, stage_fn};

use super::{any, builds, next, single, zero};
use crate::{Pipeline, names};

type A = Arc<u32>;

fn everything() -> Pipeline<u32, u32> {
    builds(|p| {
        let input = p.input();
        let profile = p.stage("profile", stage_fn(next)).kind(StageKind::Enrich).inputs(input);
        let route = p.stage("route", stage_fn(next)).kind(StageKind::Route).inputs(input);
        let fast = p.stage("fast", any::<Owned<u32>>()).when(route, |n| *n > 3).inputs(profile);
        let slow = p.stage("slow", stage_fn(next)).when(route, |n| *n <= 3).after(profile).inputs(input);
        let shards = p.parallel("shard", 0..500, |_| stage_fn(zero)).inputs(());
        let named =
            p.stage("named", any()).inputs((profile.or(fast).optional(), names(["fast"]).optional(["slow"])));
        let _: crate::Port<u32> = p
            .stage("list", any::<(Option<A>, stageflow_core::StageInputs)>())
            .inputs((profile.optional(), "named"));
        let both =
            p.stage("both", any::<(A, Vec<A>, Vec<A>)>()).inputs((fast.or(slow), vec![slow, named], shards));
        p.stage("polish", any::<(A, Option<A>)>()).inputs((both, slow.optional()))
    })
}

#[test]
fn a_tree_shows_every_kind_of_edge() {
    let tree: Vec<String> = everything().to_tree().lines().map(str::to_owned).collect();
    let shards = 500;
    assert_eq!(tree.len(), 9 + shards);
    assert_eq!(tree[0], "p: u32 → u32 (508 stages)");
    assert_eq!(tree[1], "├─ profile    enrich     ← input");
    assert_eq!(tree[2], "├─ route      route      ← input");
    assert_eq!(tree[3], "├─ fast       transform  ← own profile, when route");
    assert_eq!(tree[4], "├─ slow       transform  ← input, after profile, when route");
    assert_eq!(tree[5], "├─ shard-000  transform");
    assert_eq!(
        tree[5 + shards..],
        [
            "├─ named      transform  ← (profile | fast)?, {fast, slow?}",
            "├─ list       transform  ← profile?, {named}",
            "├─ both       transform  ← fast | slow, [slow, named], [shard-000 … shard-499: 500]",
            "╰─ polish     transform  ← both, slow?  → output",
        ]
    );
}

#[test]
fn dot_and_mermaid_draw_every_edge() {
    let pipeline = builds(|p| {
        let input = p.input();
        let a = p.stage("a", stage_fn(next)).kind(StageKind::Route).inputs(input);
        let b = p.stage("b", any::<Owned<u32>>()).when(a, |_| true).inputs(a);
        p.stage("c", any::<(Option<A>, A)>()).after(a).inputs((a.optional(), b.or(input)))
    });
    assert_eq!(
        pipeline.to_dot(),
        r#"digraph "p" {
  rankdir=LR;
  node [shape=box, style=rounded];
  input [shape=plain, label="u32"];
  s0 [label="a\nroute"];
  input -> s0;
  s1 [label="b\ntransform"];
  s0 -> s1 [label="own"];
  s0 -> s1 [style=dotted, label="when"];
  s2 [label="c\ntransform"];
  s0 -> s2 [style=dashed, label="optional"];
  s1 -> s2 [style=dashed, label="or"];
  input -> s2 [style=dashed, label="or"];
  s0 -> s2 [style=dotted, label="after"];
  output [shape=plain, label="u32"];
  s2 -> output;
}
"#
    );
    assert_eq!(
        pipeline.to_mermaid(),
        r#"flowchart LR
  input(["u32"])
  s0["a<br>route"]
  input --> s0
  s1["b<br>transform"]
  s0 -->|own| s1
  s0 -.->|when| s1
  s2["c<br>transform"]
  s0 -.->|optional| s2
  s1 -.->|or| s2
  input -.->|or| s2
  s0 -.->|after| s2
  output(["u32"])
  s2 --> output
"#
    );
}

#[test]
fn hostile_names_stay_inside_their_labels() {
    let name = "x\"]; evil [label=\"\\\" <script>&amp; %%{init}%% `; end";
    let pipeline = single(name, name);
    let dot = pipeline.to_dot();
    let label = r#"x\"]; evil [label=\"\\\" <script>&amp;amp; %%{init}%% `; end"#;
    assert!(dot.contains(&format!("  s0 [label=\"{label}\\ntransform\"];\n")), "{dot}");
    assert!(dot.starts_with(&format!("digraph \"{label}\" {{\n")), "{dot}");
    let mermaid = pipeline.to_mermaid();
    let line = mermaid.lines().find(|line| line.starts_with("  s0[")).unwrap();
    let inside = line.strip_prefix("  s0[\"").unwrap().strip_suffix("<br>transform\"]").unwrap();
    assert!(!inside.contains(['"', '<', '>', '[', ']', '`', '%', '{', '\\', '&']), "{line}");
    assert_eq!(mermaid.lines().count(), 6);
    assert_eq!((dot.lines().count(), pipeline.to_tree().lines().count()), (9, 2));
}

#[test]
fn a_ladder_of_diamonds_renders_in_linear_size() {
    let ladder = |rungs: u32| {
        builds(|p| {
            let mut port = p.input();
            for rung in 0..rungs {
                let left = p.stage(format!("left-{rung:05}"), stage_fn(next)).inputs(port);
                let right = p.stage(format!("right-{rung:05}"), stage_fn(next)).inputs(port);
                port = p.stage(format!("join-{rung:05}"), any::<(A, A)>()).inputs((left, right));
            }
            port
        })
    };
    let (small, large) = (ladder(1_000), ladder(10_000));
    for (small, large) in [
        (small.to_tree(), large.to_tree()),
        (small.to_dot(), large.to_dot()),
        (small.to_mermaid(), large.to_mermaid()),
        (small.to_svg(), large.to_svg()),
    ] {
        assert!(small.len() < 3_000_000 && large.len() < 11 * small.len(), "{} {}", small.len(), large.len());
    }
}
