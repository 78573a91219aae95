//! Windows: nothing is lost, nothing is doubled but what overlaps, and every bound holds.

use std::time::Duration;

use proptest::prelude::*;

use super::super::{ClosedBy, LastWindow, Window, Windows, WindowsBuilder};

fn cut(windows: &Windows<u64>, items: &[(u64, u64)]) -> (Vec<Window<u64>>, usize) {
    let (mut cutter, mut now, mut cut) = (windows.cutter(), 0, Vec::new());
    for (gap, item) in items {
        now += gap;
        cutter.push(Duration::from_millis(now), *item);
        cut.extend(std::iter::from_fn(|| cutter.pop()));
    }
    cutter.finish();
    cut.extend(std::iter::from_fn(|| cutter.pop()));
    (cut, cutter.left_out())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn windows_without_what_overlaps_are_the_input(
        items in prop::collection::vec((0_u64..20, 1_u64..40), 0..60),
        size in prop::option::of(1_usize..8),
        weight in prop::option::of(1_u64..60),
        every in prop::option::of(1_u64..60),
        overlap in 0_usize..6,
        keeps in any::<bool>(),
    ) {
        let mut builder: WindowsBuilder<u64> = Windows::builder().overlap(overlap);
        if let Some(size) = size { builder = builder.size(size); }
        if let Some(weight) = weight { builder = builder.max_weight(weight, |item| *item); }
        if let Some(every) = every { builder = builder.every(Duration::from_millis(every)); }
        builder = builder.last(if keeps { LastWindow::Keep } else { LastWindow::Drop });
        let Ok(windows) = builder.build() else {
            prop_assert!(size.is_some_and(|size| size <= overlap) || (size, weight, every) == (None, None, None));
            return Ok(());
        };
        let (cut, left_out) = cut(&windows, &items);

        let fresh: Vec<u64> = cut.iter().flat_map(|window| window.fresh().to_vec()).collect();
        let input: Vec<u64> = items.iter().map(|(_, item)| *item).collect();
        prop_assert_eq!(&fresh[..], &input[..input.len() - left_out]);
        prop_assert!(!keeps || left_out == 0);
        let mut before: Vec<u64> = Vec::new();
        for window in &cut {
            prop_assert!(!window.fresh().is_empty());
            prop_assert!(size.is_none_or(|size| window.len() <= size));
            let heavy: u64 = window.iter().sum();
            prop_assert!(weight.is_none_or(|most| heavy <= most || window.len() == 1));
            // What it repeats is the end of the one before; all that fits beside its first fresh item.
            let repeated = &window[..window.repeated()];
            prop_assert!(before.ends_with(repeated) && repeated.len() <= overlap);
            let all = overlap.min(before.len());
            if repeated.len() < all {
                let more: u64 = before[before.len() - repeated.len() - 1..].iter().sum();
                prop_assert!(weight.is_some_and(|most| more + window.fresh()[0] > most));
            }
            match window.closed_by() {
                ClosedBy::Size => prop_assert_eq!(Some(window.len()), size),
                ClosedBy::Weight => prop_assert!(weight.is_some()),
                ClosedBy::Time => prop_assert!(every.is_some()),
                ClosedBy::End => prop_assert!(keeps),
            }
            before = window.to_vec();
        }
    }

    #[test]
    fn no_window_is_open_for_its_time_or_longer(
        items in prop::collection::vec((0_u64..20, Just(1_u64)), 1..60),
        every in 1_u64..60,
    ) {
        let windows = Windows::builder().every(Duration::from_millis(every)).build().expect("windows");
        let (cut, _) = cut(&windows, &items);
        let mut at = 0;
        let times: Vec<u64> = items.iter().map(|(gap, _)| { at += gap; at }).collect();
        let mut from = 0;
        for window in &cut {
            let of_window = &times[from..from + window.len()];
            prop_assert!(of_window[of_window.len() - 1] - of_window[0] < every);
            from += window.len();
            // The next could not have been in it.
            prop_assert!(times.get(from).is_none_or(|next| next - of_window[0] >= every));
        }
        prop_assert_eq!(from, times.len());
    }
}

#[test]
fn what_cannot_work_is_refused_with_every_problem() {
    let error =
        Windows::<u64>::builder().size(0).every(Duration::ZERO).build().expect_err("nothing could come");
    assert_eq!(error.problems().count(), 2);
    assert!(Windows::<u64>::builder().build().is_err());
    let error = Windows::<u64>::builder().size(3).overlap(3).build().expect_err("it would not advance");
    assert_eq!(
        error.to_string(),
        "the windows cannot be built: `overlap` is not below `size`, and no window would have a fresh item"
    );
}

#[test]
fn an_item_that_is_too_heavy_is_a_window_of_its_own() {
    let windows = Windows::builder().max_weight(10, |item: &u64| *item).overlap(2).build().expect("windows");
    let cut: Vec<_> = windows.over([4, 3, 20, 5, 5, 5]).map(|window| window.to_vec()).collect();
    assert_eq!(cut, [vec![4, 3], vec![20], vec![5, 5], vec![5, 5]]);
}
