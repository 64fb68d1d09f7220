//! What holds for every [`Store`]: sentences about the domain, each on a fresh store.
//!
//! An adapter's tests run them all by [`store_contract!`](crate::store_contract):
//!
//! ```text
//! fn run(case: otaria_ports::store::contract::Case) {
//!     let events = std::sync::Arc::new(otaria_ports::events::KeptEvents::default());
//!     let store = fresh_store(events.clone());
//!     block_on(case(&store, &events));
//! }
//! otaria_ports::store_contract!(run);
//! ```
//!
//! Never waits for anything but the store and never reads a clock: instants are [`world::at`].

mod accounts;
mod applies;
mod bulk;
mod cancel;
mod claims;
mod deletion;
mod devices;
mod events;
mod expansion;
mod firmwares;
mod groups;
mod jobs;
mod leases;
mod nonces;
mod orders;
mod parts;
mod standing;
mod tasks;
pub mod world;

pub use accounts::*;
pub use applies::*;
pub use bulk::*;
pub use cancel::*;
pub use claims::*;
pub use deletion::*;
pub use devices::*;
pub use events::*;
pub use expansion::*;
pub use firmwares::*;
pub use groups::*;
pub use jobs::*;
pub use leases::*;
pub use nonces::*;
pub use orders::*;
pub use parts::*;
pub use standing::*;
pub use tasks::*;

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
/// [`Case`](crate::store::contract::Case) and runs it on a fresh store. With `ignore = "why"` after it, the tests
/// only run where they are asked for: a store that needs a server.
#[macro_export]
macro_rules! store_contract {
    // Makes a table of the sentences by name.
    (@table store { $($store:ident;)+ } events { $($events:ident;)+ }) => {
        &[
            $((stringify!($store), |store, _| Box::pin($crate::store::contract::$store(store))),)+
            $((stringify!($events), |store, events| {
                Box::pin($crate::store::contract::$events(store, events))
            }),)+
        ]
    };
    // Makes a test of each.
    (@tests $run:path; store { $($store:ident;)+ } events { $($events:ident;)+ }) => {
        $(
            #[test]
            fn $store() {
                $run(|store, _| Box::pin($crate::store::contract::$store(store)));
            }
        )+
        $(
            #[test]
            fn $events() {
                $run(|store, events| Box::pin($crate::store::contract::$events(store, events)));
            }
        )+
    };
    // Makes a test of each that only runs where it is asked for.
    (@ignored $run:path, $why:literal; store { $($store:ident;)+ } events { $($events:ident;)+ }) => {
        $(
            #[test]
            #[ignore = $why]
            fn $store() {
                $run(|store, _| Box::pin($crate::store::contract::$store(store)));
            }
        )+
        $(
            #[test]
            #[ignore = $why]
            fn $events() {
                $run(|store, events| Box::pin($crate::store::contract::$events(store, events)));
            }
        )+
    };
    // The list: sentences that need a store, and sentences that also listen to it.
    (@all $($how:tt)*) => {
        $crate::store_contract! {
            $($how)*
            store {
                // accounts
                account_1_is_there_from_the_start;
                an_account_name_is_given_once;
                an_access_key_is_kept_as_it_came;
                an_access_key_has_its_own_id_and_an_account;
                the_first_admin_key_is_one;
                a_key_is_changed_in_its_own_account_only;
                an_account_keeps_its_last_active_admin;
                // devices
                a_product_is_kept_as_it_came;
                a_product_name_is_unique_in_its_account;
                products_are_paged_by_number;
                a_device_id_holds_shard_and_place;
                a_device_is_kept_as_it_came;
                a_name_that_is_taken_registers_nothing;
                a_device_name_is_unique_in_its_product;
                devices_are_paged_by_name;
                secrets_come_in_the_order_asked;
                connects_are_noted;
                who_connected_lately_is_found;
                an_older_version_does_not_replace_a_newer_one;
                of_several_versions_the_latest_is_kept;
                versions_come_sorted;
                names_are_resolved_in_the_order_asked;
                a_later_device_is_not_in_the_job;
                a_scan_meets_each_member_once;
                devices_are_found_by_id;
                // deletion
                a_device_is_shut_out_and_let_in;
                a_deleted_device_leaves_its_tasks;
                a_deleted_device_gets_no_task;
                a_firmware_is_described_anew;
                a_firmware_in_use_is_not_deleted;
                a_product_has_10_modules_at_most;
                a_product_in_use_is_not_deleted;
                // batches of names
                a_batch_of_names_is_kept_as_it_came;
                a_batch_of_names_is_registered_once;
                // groups
                a_group_is_kept_as_it_came;
                a_group_belongs_to_its_account;
                groups_are_filtered_and_paged;
                every_added_device_is_counted_once;
                devices_leave_a_group_and_come_back;
                a_job_keeps_the_members_of_its_group;
                // parts
                a_part_counts_who_matches;
                a_draw_sees_what_was;
                a_draw_is_kept_once;
                // dynamic jobs
                who_informs_a_matching_version_joins;
                a_batch_of_reports_joins_device_by_device;
                who_is_registered_later_joins;
                the_latest_dynamic_job_wins;
                the_expansion_of_the_latest_dynamic_job_wins;
                a_firmware_has_one_running_dynamic_job;
                tasks_outlive_their_strategy;
                who_came_by_itself_is_one_line;
                a_busy_device_joins_later;
                a_dynamic_group_is_a_rule;
                dynamic_jobs_of_a_group_agree;
                // firmwares
                an_upload_belongs_to_its_account;
                old_uploads_are_forgotten;
                uploads_in_use_are_not_forgotten;
                a_firmware_is_kept_as_it_came;
                a_firmware_name_is_unique_in_its_account;
                an_account_has_500_firmwares_at_most;
                firmwares_are_filtered_and_paged;
                // jobs
                a_job_is_kept_as_it_came;
                every_kind_of_target_is_kept;
                a_job_belongs_to_its_account;
                the_same_token_and_body_make_one_job;
                the_same_token_with_another_body_is_refused;
                a_new_job_moves_its_firmware_along;
                a_job_needs_product_and_firmware_of_its_account;
                names_are_kept_with_the_job;
                a_job_moves_from_the_expected_status_only;
                a_job_is_done_when_nothing_is_open;
                a_job_move_takes_its_firmware_along;
                unfinished_jobs_are_those_with_work;
                ended_jobs_are_those_that_ended_lately;
                an_old_job_is_removed_with_all_its_rows;
                a_job_with_work_is_not_removed;
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
                // tasks
                a_stale_revision_writes_nothing;
                a_change_needs_its_task;
                every_state_survives;
                notices_add_up_and_words_stay;
                counters_move_with_the_tasks;
                open_tasks_forget_ended_ones;
                ended_offers_are_found_by_device;
                tasks_are_found_by_key;
                due_tasks_come_oldest_first;
                a_stopped_clock_is_not_due;
                a_reopened_task_is_open_again;
                an_ended_task_is_not_opened_beside_another;
                versions_and_tasks_are_taken_together;
                a_listing_visits_each_task_once;
                a_device_may_have_many_ended_tasks;
                // cancellation
                a_cancellation_is_swept_to_its_end;
                only_the_named_statuses_are_cancelled;
                ended_tasks_are_left_alone;
                a_cancellation_waits_for_the_expansion;
                a_second_request_adds_to_the_first;
                a_cancellation_needs_its_job;
                // orders
                tasks_are_found_by_id;
                ordered_tasks_move_together_or_not_at_all;
                a_cancellation_outranks_an_order;
                the_tasks_of_devices_are_cancelled;
                jobs_are_listed_newest_first;
                a_job_is_changed_until_it_ends;
                a_bulk_is_kept_with_its_job;
                a_piece_of_a_bulk_is_written_once;
                // leases
                each_start_is_a_new_member;
                a_renewal_in_time_keeps_the_membership;
                free_shards_are_taken;
                the_shards_of_an_alive_member_are_not_taken;
                a_take_over_raises_the_epoch;
                a_member_that_leaves_frees_its_shards;
                a_released_shard_is_free;
                a_periodic_work_begins_once_a_period;
                // nonces
                a_nonce_is_good_once;
                only_old_nonces_are_forgotten;
            }
            events {
                a_job_tells_where_it_stands;
                a_new_task_comes_from_nowhere;
                a_task_tells_its_moves_in_order;
                a_replaced_task_tells_it_under_its_own_job;
                a_sweep_tells_what_it_cancels;
                a_deleted_device_tells_of_its_tasks;
            }
        }
    };
    (@every_sentence) => {
        $crate::store_contract! { @all @table }
    };
    ($run:path) => {
        $crate::store_contract! { @all @tests $run; }
    };
    ($run:path, ignore = $why:literal) => {
        $crate::store_contract! { @all @ignored $run, $why; }
    };
}

/// Every sentence by name, for runners that choose.
pub const SENTENCES: &[(&str, Case)] = store_contract!(@every_sentence);
