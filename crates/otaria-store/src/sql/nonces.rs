//! Nonces of signed requests.

/// Rides on the primary key of `nonce`.
pub(crate) const USE: &str = "
    insert into nonce (access_key, nonce, keep_until) values ($1, $2, $4)
        on conflict (access_key, nonce) do update set keep_until = excluded.keep_until
     where nonce.keep_until <= $3";

/// Rides on `nonce_keep_until (keep_until)`, which ends in the primary key.
pub(crate) const FORGET: &str = "
    delete from nonce where (access_key, nonce) in
        (select access_key, nonce from nonce where keep_until <= $1 order by keep_until limit $2)";
