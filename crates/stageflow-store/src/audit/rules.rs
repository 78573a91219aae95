//! Which events an auditor asks for, and what is kept of them.

use stageflow_core::{
    CustomEvent, ErrorClass, Event, EventKind, Failure, FieldValue, Losses, RunOutcome, TenantId, UserId,
    audit::AuditRecord, text::OneLine,
};

/// How many characters of a text are kept.
const LONGEST: usize = 256;

/// What becomes of an event of a policy.
struct Rule {
    name: &'static str,
    decision: Decision,
    /// The field that says why.
    reason: &'static str,
    /// The other fields that are kept.
    fields: &'static [&'static str],
}

enum Decision {
    /// The event says it by its name.
    Is(&'static str),
    /// A field says it.
    In(&'static str),
}

const fn rule(
    name: &'static str,
    decision: Decision,
    reason: &'static str,
    fields: &'static [&'static str],
) -> Rule {
    Rule { name, decision, reason, fields }
}

use Decision::{In, Is};

/// The events of policies. Fields that are not named here are not kept.
const RULES: &[Rule] = &[
    rule("auth.accepted", Is("granted"), "by", &["tenant", "organisation"]),
    rule("auth.denied", Is("denied"), "reason", &[]),
    rule("tenant.denied", Is("denied"), "reason", &[]),
    rule("tenant.quota_exceeded", Is("refused"), "quota", &["used", "limit"]),
    rule("admission.admitted", Is("admitted"), "", &["waited_ms"]),
    rule("admission.shed", Is("refused"), "rule", &[]),
    rule("guard.decided", In("verdict"), "reason", &["guard", "score", "code", "class"]),
    rule("guard.blocked", Is("blocked"), "reason", &["guard", "objections", "then"]),
    rule("audit.guard_opened", Is("opened"), "reason", &["guard", "code", "class"]),
    rule("pause.opened", Is("asked"), "", &["token"]),
    rule("pause.answered", Is("answered"), "", &["token"]),
    rule("pause.expired", Is("expired"), "", &["token"]),
    rule("run.resumed", Is("resumed"), "reason", &[]),
    rule("run.branched", Is("branched"), "reason", &[]),
    rule("journal.lost", Is("undurable"), "reason", &["code"]),
    rule("saga.stuck", Is("stuck"), "because", &["saga", "stuck", "in_doubt", "undone", "still_done"]),
];

/// Whether an event is recorded; with `runs`, also those that begin and end a run.
pub(super) fn is_wanted(event: &Event, runs: bool) -> bool {
    match event.kind() {
        EventKind::Custom(custom) => custom.name().starts_with("audit.") || rule_of(custom.name()).is_some(),
        EventKind::StageFailed(failure) => failure.class() == ErrorClass::Denied,
        EventKind::PipelineEnded { outcome, .. } => runs || *outcome == RunOutcome::Denied,
        EventKind::PipelineStarted => runs,
        EventKind::Gap { .. } => true,
        _ => false,
    }
}

fn rule_of(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name == name)
}

/// The record of an event that is wanted. Messages of errors are not in it: they may have anything in them.
pub(super) fn record(event: &Event, unowned: &TenantId) -> AuditRecord {
    let mut record = blank(event, unowned);
    match event.kind() {
        EventKind::Custom(custom) => of_policy(&mut record, custom),
        EventKind::StageFailed(failure) => of_failure(&mut record, "denied", Some(failure)),
        EventKind::PipelineEnded { outcome, failure, .. } => {
            of_failure(&mut record, outcome.as_str(), failure.as_ref());
        }
        EventKind::PipelineStarted => "admitted".clone_into(&mut record.decision),
        EventKind::Gap { losses, .. } => of_gap(&mut record, losses),
        _ => {}
    }
    record
}

fn blank(event: &Event, unowned: &TenantId) -> AuditRecord {
    let identity = event.run().snapshot().identity();
    AuditRecord {
        tenant: identity.tenant_id().unwrap_or(unowned).clone(),
        at: event.time(),
        who: identity.user_id().map(|user| short(user.as_str()).into()),
        run: Some(event.run_id()),
        stage: event.stage().map(short),
        action: short(&event.name()),
        decision: String::new(),
        reason: String::new(),
        fields: vec![
            ("event".to_owned(), event.seq().into()),
            ("pipeline".to_owned(), short(event.pipeline()).into()),
        ],
    }
}

fn of_policy(record: &mut AuditRecord, event: &CustomEvent) {
    let text = |key: &str| match event.field(key) {
        Some(FieldValue::Text(text)) => Some(short(text)),
        Some(other) => Some(other.to_string()),
        None => None,
    };
    let rule = rule_of(event.name());
    record.decision = match rule.map(|rule| &rule.decision) {
        Some(Is(decision)) => (*decision).to_owned(),
        Some(In(field)) => text(field).unwrap_or_default(),
        None => text("decision").unwrap_or_else(|| "told".to_owned()),
    };
    record.reason = text(rule.map_or("reason", |rule| rule.reason)).unwrap_or_default();
    // Who was found out to be asking is more than who was said to be.
    if let Some(who) = text("principal").or_else(|| text("answered_by")) {
        record.who = Some(UserId::from(who));
    }
    let is_kept = |key: &str| match rule {
        Some(rule) => rule.fields.contains(&key),
        None => !["decision", "reason", "principal", "answered_by"].contains(&key),
    };
    let kept = event.fields().filter(|(key, _)| is_kept(key));
    record.fields.extend(kept.map(|(key, value)| (short(key), shortened(value))));
}

fn of_failure(record: &mut AuditRecord, decision: &str, failure: Option<&Failure>) {
    decision.clone_into(&mut record.decision);
    let Some(failure) = failure else { return };
    record.reason = failure.code().as_str().to_owned();
    if !failure.stage().is_empty() {
        record.stage = Some(short(failure.stage()));
    }
}

/// What was lost on the way to the audit log, told in the log itself.
fn of_gap(record: &mut AuditRecord, losses: &Losses) {
    "audit.gap".clone_into(&mut record.action);
    "lost".clone_into(&mut record.decision);
    "events were dropped before they came here".clone_into(&mut record.reason);
    record.fields.push(("dropped".to_owned(), losses.total().into()));
    if let Some((first, last)) = losses.numbers() {
        record.fields.push(("first_event".to_owned(), first.into()));
        record.fields.push(("last_event".to_owned(), last.into()));
    }
}

/// How many events of other runs a gap tells of: whose they were is not known, so no tenant is told.
pub(super) fn of_others(event: &Event, unowned: &TenantId) -> Option<(AuditRecord, u64)> {
    let EventKind::Gap { losses, .. } = event.kind() else { return None };
    let elsewhere = losses.elsewhere();
    let record = AuditRecord {
        tenant: unowned.clone(),
        who: None,
        run: None,
        stage: None,
        action: "audit.gap".to_owned(),
        decision: "lost".to_owned(),
        reason: "events of other runs were dropped before they came here".to_owned(),
        fields: vec![("dropped".to_owned(), elsewhere.into())],
        ..blank(event, unowned)
    };
    (elsewhere > 0).then_some((record, elsewhere))
}

pub(super) fn short(text: &str) -> String {
    OneLine(text).to_string().chars().take(LONGEST).collect()
}

fn shortened(value: &FieldValue) -> FieldValue {
    match value {
        FieldValue::Text(text) => short(text).into(),
        other => other.clone(),
    }
}

/// The fields that the rule of an event is about.
#[cfg(test)]
pub(super) fn known_fields(name: &str) -> Vec<&'static str> {
    let Some(rule) = rule_of(name) else { return Vec::new() };
    let decision = if let In(field) = rule.decision { Some(field) } else { None };
    let reason = Some(rule.reason).filter(|reason| !reason.is_empty());
    rule.fields.iter().copied().chain(decision).chain(reason).collect()
}
