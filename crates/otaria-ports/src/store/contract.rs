//! What holds for every [`Store`]: sentences about the domain, each on a fresh store.
//!
//! An adapter's tests run them all by [`store_contract!`](crate::store_contract):
//!
//! ```ignore
//! fn run(case: otaria_ports::store::contract::Case) {
//!     let events = std::sync::Arc::new(otaria_ports::events::KeptEvents::default());
//!     let store = fresh_store(events.clone());
//!     block_on(case(&store, &events));
//! }
//! otaria_ports::store_contract!(run);
//! ```
//!
//! Never waits for anything but the store and never reads a clock: instants are [`world::at`].

mod cancel;
mod claims;
mod expansion;
pub mod world;

pub use cancel::*;
pub use claims::*;
pub use expansion::*;

use futures_util::future::BoxFuture;

use super::Store;
use crate::events::KeptEvents;

/// One sentence of the contract, to be run on a fresh store that publishes to these events.
pub type Case = for<'a> fn(&'a dyn Store, &'a KeptEvents) -> BoxFuture<'a, ()>;

/// Asserts that a call is refused with a variant of [`super::StoreError`].
macro_rules! assert_refused {
    ($result:expr, $variant:ident) => {{
        let result = $result;
        assert!(matches!(result, Err($crate::store::StoreError::$variant { .. })), "{result:?}");
    }};
}
use assert_refused;

/// Makes a test of each sentence of the contract. `$run` is a function that takes a
/// [`Case`](crate::store::contract::Case) and runs it on a fresh store.
#[macro_export]
macro_rules! store_contract {
    ($run:path) => {
        $crate::store_contract! {
            @store $run;
            // expansion
            a_slice_is_written_once;
            nothing_follows_the_last_slice;
            a_slice_needs_its_job;
            every_line_ends_in_one_count;
            a_device_that_comes_again_is_a_duplicate;
            duplicates_are_found_in_one_job_only;
            rejected_lines_are_paged_in_order;
            places_count_from_1_in_the_order_of_slices;
            a_new_task_is_kept_as_it_came;
            tasks_of_a_job_with_confirmation_wait_for_it;
            a_busy_device_fails_the_later_task;
            a_replacing_job_cancels_what_is_not_in_progress;
            an_ended_task_is_in_nobodys_way;
            modules_are_updated_side_by_side;
            the_later_task_of_a_module_replaces_the_earlier;
            one_job_without_multi_module_mode_is_enough_to_be_busy;
            several_tasks_are_replaced_together_or_not_at_all;
            // claims
            a_claim_is_written_once;
            a_batch_is_answered_row_by_row;
            a_lost_lease_writes_nothing;
            a_claim_needs_member_and_epoch;
            a_member_that_left_claims_nothing;
            only_a_running_job_is_claimed;
            what_is_being_cancelled_is_not_claimed;
            // cancellation
            a_cancellation_is_swept_to_its_end;
            only_the_named_statuses_are_cancelled;
            a_cancellation_waits_for_the_expansion;
            a_second_request_adds_to_the_first;
            a_cancellation_needs_its_job;
        }
    };
    (@store $run:path; $($name:ident;)+) => {$(
        #[test]
        fn $name() {
            $run(|store, _| Box::pin($crate::store::contract::$name(store)));
        }
    )+};
    (@events $run:path; $($name:ident;)+) => {$(
        #[test]
        fn $name() {
            $run(|store, events| Box::pin($crate::store::contract::$name(store, events)));
        }
    )+};
}
