//! Hashes that stay the same, and weighted rendezvous: which route a key belongs to.

use std::hash::{Hash, Hasher};

/// FNV-1a (Fowler, Noll, Vo) with the finaliser of SplitMix64 behind it.
struct Stable(u64);

impl Stable {
    fn new(seed: u64) -> Self {
        Self(0xCBF2_9CE4_8422_2325 ^ mix(seed))
    }
}

impl Hasher for Stable {
    fn finish(&self) -> u64 {
        mix(self.0)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    // Numbers are the same bytes on every machine.
    fn write_u16(&mut self, number: u16) {
        self.write(&number.to_le_bytes());
    }

    fn write_u32(&mut self, number: u32) {
        self.write(&number.to_le_bytes());
    }

    fn write_u64(&mut self, number: u64) {
        self.write(&number.to_le_bytes());
    }

    fn write_u128(&mut self, number: u128) {
        self.write(&number.to_le_bytes());
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}

/// The finaliser of SplitMix64.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A hash of texts and numbers that is the same in every process and on every machine, for keys that have to stay with their route.
///
/// It is fast and spreads well, and is no defence against somebody who chooses keys to meet one route. What `Hash` feeds it for types
/// of your own is the business of those types.
///
/// ```
/// use stageflow_plus::router::stable_hash;
///
/// assert_eq!(stable_hash(0, "user-7"), stable_hash(0, &"user-7".to_owned()));
/// assert_ne!(stable_hash(0, "user-7"), stable_hash(1, "user-7"));
/// ```
pub fn stable_hash<K: Hash + ?Sized>(seed: u64, key: &K) -> u64 {
    let mut hasher = Stable::new(seed);
    key.hash(&mut hasher);
    hasher.finish()
}

/// Weighted rendezvous: of the routes, given as the hash of each and its weight, the one with the largest `-w / ln(h)`, where `h` is a
/// number from 0 to 1 drawn from key and route. `None` if all weights are 0.
///
/// A key changes its route only if the change of a weight makes it: raising a weight by `Δw` moves about `Δw / W` of the keys, all of
/// them to that route. (Thaler and Ravishankar, 1998; weights by Schindelhauer and Schomaker, 2005.)
///
/// ```
/// use stageflow_plus::router::{rendezvous, stable_hash};
///
/// let routes = ["a", "b"].map(|route| stable_hash(0, route));
/// let before = |key| rendezvous(key, [(routes[0], 9), (routes[1], 1)]);
/// let after = |key| rendezvous(key, [(routes[0], 9), (routes[1], 2)]);
/// assert!((0..1_000).map(|key| stable_hash(0, &key)).all(|key| before(key) == after(key) || after(key) == Some(1)));
/// ```
pub fn rendezvous(key: u64, routes: impl IntoIterator<Item = (u64, u64)>) -> Option<usize> {
    let mut best = None;
    for (index, (route, weight)) in routes.into_iter().enumerate() {
        if weight == 0 {
            continue;
        }
        let score = weight as f64 / -unit(mix(key ^ route)).ln();
        if best.is_none_or(|(_, known)| score > known) {
            best = Some((index, score));
        }
    }
    best.map(|(index, _)| index)
}

/// Strictly between 0 and 1: the middle of one of 2^52 equal steps.
fn unit(bits: u64) -> f64 {
    ((bits >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}
