//! A request is taken once.

use crate::nonces::contract;
use crate::store::Store;

/// See [`contract::a_nonce_is_good_once`].
pub async fn a_nonce_is_good_once(store: &dyn Store) {
    contract::a_nonce_is_good_once(store).await;
}

/// See [`contract::only_old_nonces_are_forgotten`].
pub async fn only_old_nonces_are_forgotten(store: &dyn Store) {
    contract::only_old_nonces_are_forgotten(store).await;
}
