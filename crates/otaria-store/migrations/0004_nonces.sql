-- Nonces of signed requests, kept until no replay of theirs could be taken for fresh any more.

create table nonce (
    access_key text not null,
    nonce text not null,
    keep_until bigint not null,
    primary key (access_key, nonce)
) without rowid;
create index nonce_keep_until on nonce (keep_until);
