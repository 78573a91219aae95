//! Tests of hypotheses. Each is red by chance once in a million seeds at most, and the seeds are fixed.

/// The false-alarm rate.
const ALPHA: f64 = 1e-6;

/// The classes of the test of Pearson.
const CLASSES: u32 = 20;

/// What a chi-square of 19 degrees of freedom exceeds with probability 1e-6.
const CHI_SQUARE: f64 = 63.677;

/// Whether numbers are evenly distributed between 0 and 1 (Kolmogorov and Smirnov): the largest distance between the two
/// distribution functions is below the critical value of Massart's form of the inequality of Dvoretzky, Kiefer and Wolfowitz.
pub(super) fn kolmogorov_smirnov(numbers: &[f64]) -> Result<(), String> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let gaps = sorted.iter().enumerate().map(|(before, number)| {
        let (low, high) = (before as f64 / count, (before + 1) as f64 / count);
        (number - low).abs().max((high - number).abs())
    });
    let distance = gaps.fold(0.0, f64::max);
    let critical = ((2.0 / ALPHA).ln() / (2.0 * count)).sqrt();
    if distance < critical { Ok(()) } else { Err(format!("distance {distance}, critical is {critical}")) }
}

/// Whether numbers are evenly distributed between 0 and 1 (Pearson).
pub(super) fn chi_square(numbers: &[f64]) -> Result<(), String> {
    let mut counts = vec![0_u32; CLASSES as usize];
    for number in numbers {
        if !(0.0..=1.0).contains(number) {
            return Err(format!("{number} is out of its bounds"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 20")]
        let class = (number * f64::from(CLASSES)) as usize;
        counts[class.min(CLASSES as usize - 1)] += 1;
    }
    let expected = numbers.len() as f64 / f64::from(CLASSES);
    let statistic: f64 = counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
    if statistic < CHI_SQUARE {
        Ok(())
    } else {
        Err(format!("chi-square {statistic}, critical is {CHI_SQUARE}"))
    }
}

/// Both.
pub(super) fn evenly(numbers: &[f64]) -> Result<(), String> {
    kolmogorov_smirnov(numbers).and_then(|()| chi_square(numbers))
}

/// The least count that one of `buckets` reaches with a probability below 1e-6, of `clients` that each choose one evenly: by the
/// tail of the binomial distribution, and the union of all buckets.
pub(super) fn binomial_bound(clients: u32, buckets: u32) -> u32 {
    let (n, p) = (f64::from(clients), 1.0 / f64::from(buckets));
    let mut term = (1.0 - p).powi(i32::try_from(clients).expect("few clients"));
    let mut terms = Vec::new();
    for k in 0..=clients {
        terms.push(term);
        let k = f64::from(k);
        term *= (n - k) / (k + 1.0) * p / (1.0 - p);
    }
    let mut tail = 0.0;
    for (k, term) in terms.iter().enumerate().rev() {
        tail += term;
        if tail * f64::from(buckets) >= ALPHA {
            return u32::try_from(k).expect("few clients") + 1;
        }
    }
    0
}

/// The checks themselves: even numbers pass, and each departure is found by one of them at least.
#[test]
fn the_statistics_tell_even_numbers_from_others() {
    use stageflow::{Randomness as _, SeededRandom};
    let random = SeededRandom::new(11);
    let even: Vec<_> = (0..5_000).map(|_| (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64).collect();
    assert_eq!(evenly(&even), Ok(()));
    let squared: Vec<_> = even.iter().map(|it| it * it).collect();
    let upper: Vec<_> = even.iter().map(|it| 0.5 + it / 2.0).collect();
    let most: Vec<_> = even.iter().map(|it| it * 0.9).collect();
    let narrow = vec![0.5; 5_000];
    for odd in [&squared, &upper, &most, &narrow] {
        assert!(kolmogorov_smirnov(odd).is_err() && chi_square(odd).is_err());
    }
    // A comb is even to Kolmogorov and Smirnov, and not to Pearson.
    let comb: Vec<_> = even.iter().map(|it| (it * 50.0).floor() / 50.0).collect();
    assert!(kolmogorov_smirnov(&comb).is_ok() && chi_square(&comb).is_err());
}

/// A hundred buckets of ten on average: by an independent computation in exact fractions the tail falls below 1e-6 at 33.
#[test]
fn the_bound_is_that_of_the_binomial_distribution() {
    assert_eq!(binomial_bound(1_000, 100), 33);
    assert_eq!((binomial_bound(1_000, 50), binomial_bound(30, 3)), (50, 24));
}
