use async_trait::async_trait;
use otaria_core::ids::{AccountNo, ApplyNo};
use otaria_core::time::Timestamp;

use super::MemoryStore;
use crate::store::{Applies, Apply, NewApply, NewDevice, Product, StoreError};

#[async_trait]
impl Applies for MemoryStore {
    async fn create_apply(&self, new: &NewApply, now: Timestamp) -> Result<Apply, StoreError> {
        self.transact("keeping names", |tables| {
            let product = tables.products.get(&new.product);
            let product = product.filter(|product| !tables.gone_products.contains(&product.no));
            if product.is_none_or(|product| product.new.account != new.account) {
                return Err(StoreError::NotFound { what: "product" });
            }
            tables.last_apply += 1;
            let no = ApplyNo(tables.last_apply);
            let apply = Apply { no, new: new.clone(), devices: None, created_at: now };
            tables.applies.insert(no, apply.clone());
            Ok(apply)
        })
    }

    async fn apply(&self, account: AccountNo, no: ApplyNo) -> Result<Option<Apply>, StoreError> {
        self.transact("reading names", |tables| {
            Ok(tables.applies.get(&no).filter(|apply| apply.new.account == account).cloned())
        })
    }

    async fn register_apply(
        &self,
        apply: ApplyNo,
        product: &Product,
        devices: &[NewDevice],
        now: Timestamp,
    ) -> Result<Apply, StoreError> {
        self.transact("registering names", |tables| {
            let kept = tables.applies.get(&apply).filter(|kept| kept.new.product == product.no);
            let kept = kept.cloned().ok_or(StoreError::NotFound { what: "batch of names" })?;
            if kept.devices.is_some() {
                return Ok(kept);
            }
            let ids = tables.register_all(product, devices, now)?;
            let kept = Apply { devices: Some(ids), ..kept };
            tables.applies.insert(apply, kept.clone());
            Ok(kept)
        })
    }

    async fn purge_applies(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.transact("forgetting names", |tables| {
            let old = tables.applies.values().filter(|apply| apply.created_at < before);
            let old: Vec<ApplyNo> = old.map(|apply| apply.no).take(limit).collect();
            old.iter().for_each(|no| drop(tables.applies.remove(no)));
            Ok(old.len() as u64)
        })
    }
}
