//! How a canary looks, and how it is found in a text.

use super::Place;

/// There are fewer tenants than this.
pub(super) const MOST: usize = 1_000_000;

const CANARY: &str = "canary";
const TENANT: &str = "tenant";

/// The texts of one test: letters and digits only, so that no format writes them in another way, and with an end, so that none is the
/// beginning of another.
///
/// - a tenant: `tenant`, 12 hexadecimal digits of the test, `x`, 6 digits, `z`
/// - a canary: `canary`, the same, and instead of `z`: `x`, 2 digits for the place, `z`
pub(super) struct Marks {
    nonce: String,
}

/// What is found in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Canary {
        tenant: usize,
        place: Place,
    },
    Tenant(usize),
    /// A part of one.
    Torn,
}

impl Marks {
    pub(super) fn new(seed: u64) -> Self {
        // Mixed, so that a small number makes no digits that stand somewhere anyway (the finalizer of SplitMix64).
        let mixed = (seed ^ (seed >> 30) ^ 0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self { nonce: format!("{:012x}", (mixed ^ (mixed >> 31)) & 0xFFFF_FFFF_FFFF) }
    }

    pub(super) fn stem(&self, tenant: usize) -> String {
        format!("{}x{tenant:06}", self.nonce)
    }

    pub(super) fn tenant(&self, tenant: usize) -> String {
        format!("{TENANT}{}z", self.stem(tenant))
    }

    /// All marks of a text, each with where it begins. Capital letters count as small ones.
    pub(super) fn find<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (usize, Mark)> + 'a {
        // ASCII letters only: every offset stays what it is.
        let text = text.to_ascii_lowercase();
        let mut from = 0;
        std::iter::from_fn(move || {
            let at = from + text[from..].find(&self.nonce)?;
            from = at + self.nonce.len();
            Some((at, mark(&text[..at], &text[from..])))
        })
    }
}

/// What the texts before and behind a nonce make of it.
fn mark(before: &str, behind: &str) -> Mark {
    let whole = || {
        let tenant = number(behind.strip_prefix('x')?, 6)?;
        let behind = &behind[7..];
        if before.ends_with(TENANT) {
            return behind.starts_with('z').then_some(Mark::Tenant(tenant));
        }
        let place = number(behind.strip_prefix('x')?, 2)?;
        let is_whole = before.ends_with(CANARY) && behind[3..].starts_with('z');
        Place::ALL.get(place).filter(|_| is_whole).map(|place| Mark::Canary { tenant, place: *place })
    };
    whole().unwrap_or(Mark::Torn)
}

fn number(text: &str, digits: usize) -> Option<usize> {
    text.get(..digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

pub(super) fn canary(stem: &str, place: Place) -> String {
    format!("{CANARY}{stem}x{:02}z", place as u8)
}

/// What a tenant's canaries begin with.
pub(super) fn stem_of(tenant: &str) -> Option<&str> {
    let stem = tenant.strip_prefix(TENANT)?.strip_suffix('z')?;
    let (nonce, number_of) = stem.split_once('x')?;
    (nonce.len() == 12 && number_of.len() == 6 && number(number_of, 6).is_some()).then_some(stem)
}
