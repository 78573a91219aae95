//! Each rule is red on a tree that breaks it. Trees are as `cargo tree` prints them.

use super::{ANYTHING_ASYNC, CORE, RULES, Rule, parse, uninvited, violations};

fn rule(name: &str) -> &'static Rule {
    RULES.iter().find(|rule| rule.name == name).expect("a rule")
}

fn found(name: &str, tree: &str) -> Vec<String> {
    violations(rule(name), &parse(tree)).into_iter().map(|problem| problem.what).collect()
}

#[test]
fn core_knows_no_sibling() {
    let tree = "0 stageflow-core v0.1.0 (/r)|\n1 stageflow-dag v0.1.0 (/r)|\n";
    assert_eq!(found(CORE, tree), ["may not depend on `stageflow-dag`"]);
}

#[test]
fn core_may_have_the_cancellation_token_and_no_more_of_tokio() {
    let fine = "0 stageflow-core v0.1.0 (/r)|\n1 tokio-util v0.7.16|\n2 tokio v1.47.1|default,sync\n";
    assert!(found(CORE, fine).is_empty());
    let runtime = "0 stageflow-core v0.1.0 (/r)|\n1 tokio-util v0.7.16|rt\n2 tokio v1.47.1|rt,sync\n";
    assert_eq!(found(CORE, runtime), ["may not cause tokio's `rt` to be compiled"]);
    let direct = "0 stageflow-core v0.1.0 (/r)|\n1 tokio v1.47.1|sync (*)\n";
    assert_eq!(found(CORE, direct), ["may not name `tokio` in its dependencies"]);
}

#[test]
fn dag_names_nothing_async() {
    for name in ANYTHING_ASYNC {
        let tree = format!("0 stageflow-dag v0.1.0 (/r)|\n1 stageflow-core v0.1.0 (/r)|\n1 {name} v1.0.0|\n");
        assert_eq!(found("stageflow-dag", &tree), [format!("may not name `{name}` in its dependencies")]);
    }
}

#[test]
fn siblings_meet_in_core() {
    for (one, other) in [
        ("stageflow-dag", "exec"),
        ("stageflow-exec", "interceptors"),
        ("stageflow-exec", "events"),
        ("stageflow-exec", "plus"),
        ("stageflow-exec", "store"),
        ("stageflow-interceptors", "dag"),
        ("stageflow-events", "exec"),
        ("stageflow-plus", "store"),
        ("stageflow-store", "exec"),
        ("stageflow-testing", "plus"),
    ] {
        let tree = format!("0 {one} v0.1.0 (/r)|\n1 serde v1.0.0|\n2 stageflow-{other} v0.1.0 (/r)|\n");
        assert_eq!(found(one, &tree), [format!("may not depend on `stageflow-{other}`")]);
    }
}

#[test]
fn the_facade_names_crates_of_ours_only() {
    let tree =
        "0 stageflow v0.1.0 (/r)|\n1 stageflow-exec v0.1.0 (/r)|\n2 tokio v1.47.1|rt\n1 serde v1.0.0|\n";
    assert_eq!(found("stageflow", tree), ["may not depend on crates of others, and names `serde`"]);
}

#[test]
fn the_command_line_names_the_facade_only() {
    let fine = "0 stageflow-cli v0.1.0 (/r)|\n1 stageflow v0.1.0 (/r)|\n2 stageflow-dag v0.1.0 (/r)|\n1 tokio v1.47.1|rt\n";
    assert!(found("stageflow-cli", fine).is_empty());
    let direct = "0 stageflow-cli v0.1.0 (/r)|\n1 stageflow v0.1.0 (/r)|\n1 stageflow-dag v0.1.0 (/r)|\n";
    assert_eq!(found("stageflow-cli", direct), ["may not name `stageflow-dag` in its dependencies"]);
}

#[test]
fn ready_made_stages_have_the_dag_in_features_only() {
    let tree = parse("0 stageflow-plus v0.1.0 (/r)|\n1 stageflow-dag v0.1.0 (/r)|\n");
    assert!(violations(rule("stageflow-plus"), &tree).is_empty());
    assert_eq!(uninvited(rule("stageflow-plus"), &tree).len(), 1);
}
