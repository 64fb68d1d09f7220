//! Who listens to what, so that nothing is made that nobody hears.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use otaria_core::ids::{AccountNo, ProductKey};
use parking_lot::RwLock;

use super::Shared;

type Counts = HashMap<AccountNo, HashMap<ProductKey, usize>>;

/// Listeners per account and product.
#[derive(Debug, Default)]
pub(crate) struct Interest(RwLock<Counts>);

/// Somebody listens to a product as long as this lives.
pub(crate) struct Listening {
    shared: Arc<Shared>,
    account: AccountNo,
    product: ProductKey,
}

impl Interest {
    pub(crate) fn of_account(&self, account: AccountNo) -> bool {
        self.0.read().contains_key(&account)
    }

    pub(crate) fn accounts(&self) -> Vec<AccountNo> {
        self.0.read().keys().copied().collect()
    }

    pub(crate) fn in_product(&self, account: AccountNo, product: &ProductKey) -> bool {
        self.0.read().get(&account).is_some_and(|products| products.contains_key(product))
    }
}

impl Listening {
    pub(crate) fn begin(shared: &Arc<Shared>, account: AccountNo, product: ProductKey) -> Self {
        let mut counts = shared.interest.0.write();
        *counts.entry(account).or_default().entry(product.clone()).or_insert(0) += 1;
        drop(counts);
        Self { shared: Arc::clone(shared), account, product }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut counts = self.shared.interest.0.write();
        let Some(products) = counts.get_mut(&self.account) else { return };
        if let Entry::Occupied(mut count) = products.entry(self.product.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        if products.is_empty() {
            counts.remove(&self.account);
        }
    }
}
