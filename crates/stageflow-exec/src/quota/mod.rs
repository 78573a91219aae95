//! Quotas of tenants: the books of each, who has which, and what a run does until its tenant's quota lets it in.

mod entry;
mod ledger;
mod pool;
mod tenant;
mod tenants;
#[cfg(test)]
mod tests;
mod usage;

pub use self::usage::TenantUsage;
pub(crate) use self::{
    entry::{InQueue, QuotaEntry, Refused, refuse},
    pool::{PoolPermit, StagePool},
    tenants::Tenants,
};
