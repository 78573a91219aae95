//! What a store of answers has to do: so that stores need to know nothing of the policy that asks them.

mod key;
mod store;

pub use self::{
    key::{Fingerprint, IdempotencyKey, StoreKey},
    store::{Answer, Begin, IdempotencyStore, Lease, StoreFuture, StoredFailure, Wait},
};
