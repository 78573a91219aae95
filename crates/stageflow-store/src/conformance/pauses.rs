//! Questions to somebody outside, and their answers.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use stageflow_core::{
    UserId,
    durable::{Answered, Encoded, Journal as _, JournalErrorKind, PauseState},
};
use tokio::task::JoinSet;

use super::{
    Backend,
    kit::{begun, end, header, header_of, moment, question, refused, tenant},
};

fn yes() -> Encoded {
    Encoded::new(1, b"yes".to_vec())
}

fn later() -> Option<SystemTime> {
    crate::rows::wall_now().checked_add(Duration::from_secs(3_600)).map(|at| {
        // Some servers keep microseconds.
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
    })
}

pub(super) async fn a_pause_is_opened_once_and_answered_once(backend: &impl Backend) {
    let store = backend.open().await;
    let (key, lease) = begun(&store, &tenant()).await;
    assert_eq!(store.pause_state(&key, "q").await.expect("it is read"), None);
    let (first, second) = (later(), None);
    let open = PauseState::Open { expires: first };
    assert_eq!(store.pause(&key, lease, &question("q", first)).await.expect("it is opened"), open);
    let again = store.pause(&key, lease, &question("q", second)).await.expect("it is found");
    assert_eq!(again, open, "as it was opened before");
    assert_eq!(store.pauses(&key).await.expect("they are listed"), [question("q", first)]);
    let by = UserId::from("ada");
    let told = store.answer(&key, "q", yes(), Some(&by)).await.expect("it is answered");
    assert_eq!(told, Answered::Taken);
    let no = Encoded::new(1, b"no".to_vec());
    let told = store.answer(&key, "q", no, None).await.expect("it was answered");
    assert_eq!(told, Answered::AlreadyAnswered);
    let answered = PauseState::Answered(yes());
    assert_eq!(store.pause(&key, lease, &question("q", first)).await.expect("it is found"), answered);
    assert_eq!(store.pause_state(&key, "q").await.expect("it is read"), Some(answered));
    assert_eq!(store.pauses(&key).await.expect("they are listed"), [], "it waits no more");
}

pub(super) async fn several_pauses_wait_at_once(backend: &impl Backend) {
    let store = backend.open().await;
    let (key, lease) = begun(&store, &tenant()).await;
    for token in ["a", "b", "c"] {
        store.pause(&key, lease, &question(token, None)).await.expect("it is opened");
    }
    assert_eq!(store.answer(&key, "b", yes(), None).await.expect("it is answered"), Answered::Taken);
    let mut open = store.pauses(&key).await.expect("they are listed");
    open.sort_by(|one, other| one.token.cmp(&other.token));
    assert_eq!(open, [question("a", None), question("c", None)]);
    let state = store.pause_state(&key, "a").await.expect("it is read");
    assert_eq!(state, Some(PauseState::Open { expires: None }));
}

pub(super) async fn an_answer_survives(backend: &impl Backend) {
    let first = backend.open().await;
    let (key, lease) = begun(&first, &tenant()).await;
    first.pause(&key, lease, &question("q", None)).await.expect("it is opened");
    drop(first);
    let second = backend.open().await;
    assert_eq!(second.answer(&key, "q", yes(), None).await.expect("it is answered"), Answered::Taken);
    drop(second);
    backend.expire_leases().await;
    let third = backend.open().await;
    let (lease, _) = third.claim(&key).await.expect("it is free");
    let state = third.pause(&key, lease, &question("q", None)).await.expect("it is found");
    assert_eq!(state, PauseState::Answered(yes()));
}

pub(super) async fn of_many_answers_one_is_taken(backend: &impl Backend) {
    let store = Arc::new(backend.open().await);
    let (key, lease) = begun(&*store, &tenant()).await;
    store.pause(&key, lease, &question("q", None)).await.expect("it is opened");
    let mut answers = JoinSet::new();
    for number in 0..16_u8 {
        let (store, key) = (Arc::clone(&store), key.clone());
        answers.spawn(async move {
            let told = store.answer(&key, "q", Encoded::new(1, vec![number]), None).await;
            (number, told.expect("it is answered"))
        });
    }
    let told = answers.join_all().await;
    let taken: Vec<_> = told.iter().filter(|(_, told)| *told == Answered::Taken).collect();
    assert_eq!(taken.len(), 1, "one answer is taken");
    let others = told.iter().filter(|(_, told)| *told == Answered::AlreadyAnswered).count();
    assert_eq!(others, 15);
    let state = store.pause_state(&key, "q").await.expect("it is read");
    assert_eq!(state, Some(PauseState::Answered(Encoded::new(1, vec![taken[0].0]))), "and that is kept");
}

pub(super) async fn a_pause_ends_without_an_answer(backend: &impl Backend) {
    let store = backend.open().await;
    let (key, lease) = begun(&store, &tenant()).await;
    let past = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    let state = store.pause(&key, lease, &question("q", past)).await.expect("it is opened");
    assert_eq!(state, PauseState::Expired);
    assert_eq!(store.answer(&key, "q", yes(), None).await.expect("it is told"), Answered::Expired);
    assert_eq!(store.pause_state(&key, "q").await.expect("it is read"), Some(PauseState::Expired));
    assert_eq!(store.pauses(&key).await.expect("they are listed"), [], "it waits no more");
}

pub(super) async fn nobody_waits_for_other_answers(backend: &impl Backend) {
    let (tenant, other) = (tenant(), tenant());
    let store = backend.open().await;
    let (key, lease) = begun(&store, &tenant).await;
    store.pause(&key, lease, &question("q", None)).await.expect("it is opened");
    let others = header_of(&other, key.run()).key.clone();
    let unknown = header(&tenant).key.clone();
    for (key, token) in [(&key, "other"), (&others, "q"), (&unknown, "q")] {
        let told = store.answer(key, token, yes(), None).await.expect("it is told");
        assert_eq!(told, Answered::NotWaiting);
        assert_eq!(store.pause_state(key, token).await.expect("it is read"), None);
    }
    assert_eq!(store.pauses(&others).await.expect("they are listed"), []);
    store.append(&key, lease, vec![end(1, moment(1))]).await.expect("it ends");
    assert_eq!(store.answer(&key, "q", yes(), None).await.expect("it is told"), Answered::NotWaiting);
    assert_eq!(store.pauses(&key).await.expect("they are listed"), [], "an ended run waits for nothing");
}

pub(super) async fn an_old_lease_opens_no_pause(backend: &impl Backend) {
    let store = backend.open().await;
    let (key, old) = begun(&store, &tenant()).await;
    backend.expire_leases().await;
    store.claim(&key).await.expect("it is free");
    refused(store.pause(&key, old, &question("q", None)).await, JournalErrorKind::LeaseLost);
    assert_eq!(store.pause_state(&key, "q").await.expect("it is read"), None);
}
