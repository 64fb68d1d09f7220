//! Who may call, and as what.

use otaria_engine::Commands;
use otaria_proto::v1::{self, AccessKeyRole, AccessKeyStatus};
use tonic::Code;

use crate::world::{START, World, because, product, why};

fn server_info() -> v1::GetServerInfoRequest {
    v1::GetServerInfoRequest {}
}

#[tokio::test]
async fn nobody_gets_in_without_a_key_that_works() {
    let world = World::new().await;
    let (id, secret) = world.admin_key();
    let refusals = [
        (None, "IncompleteSignature"),
        (Some((id, "wrong")), "SignatureDoesNotMatch"),
        (Some(("OTKunknown", secret)), "InvalidAccessKeyId.NotFound"),
        (Some(("x", secret)), "InvalidAccessKeyId.NotFound"),
    ];
    for (key, reason) in refusals {
        let status = world.caller(key).access().get_server_info(server_info()).await.unwrap_err();
        assert_eq!(why(&status), because(Code::Unauthenticated, reason, ""));
    }
    let info = world.admin().access().get_server_info(server_info()).await.unwrap().into_inner();
    assert_eq!(info.version, "0.0.0");
    assert_eq!(info.limits.unwrap().register_devices_max, 20_000);
}

#[tokio::test]
async fn a_disabled_key_is_refused_from_the_next_call_on() {
    let world = World::new().await;
    let made = v1::CreateAccessKeyRequest { account_id: None, role: AccessKeyRole::Operator.into() };
    let made = world.admin().access().create_access_key(made).await.unwrap().into_inner();
    let id = made.access_key.unwrap().access_key_id;
    let caller = world.caller(Some((&id, &made.access_key_secret)));
    caller.access().get_server_info(server_info()).await.unwrap();

    let mut access = world.admin().access();
    let status = |status: AccessKeyStatus| v1::UpdateAccessKeyRequest {
        access_key_id: id.clone(),
        status: status.into(),
        role: 0,
    };
    access.update_access_key(status(AccessKeyStatus::Inactive)).await.unwrap();
    let refused = caller.access().get_server_info(server_info()).await.unwrap_err();
    assert_eq!(why(&refused), because(Code::Unauthenticated, "InvalidAccessKeyId.Inactive", ""));

    access.update_access_key(status(AccessKeyStatus::Active)).await.unwrap();
    caller.access().get_server_info(server_info()).await.unwrap();
    access.delete_access_key(v1::DeleteAccessKeyRequest { access_key_id: id.clone() }).await.unwrap();
    let refused = caller.access().get_server_info(server_info()).await.unwrap_err();
    assert_eq!(why(&refused).1, "InvalidAccessKeyId.NotFound");
    let again = access.delete_access_key(v1::DeleteAccessKeyRequest { access_key_id: id }).await.unwrap_err();
    assert_eq!(why(&again), because(Code::NotFound, "InvalidAccessKeyId.NotFound", ""));
}

#[tokio::test]
async fn the_last_admin_key_stays() {
    let world = World::new().await;
    let mut access = world.admin().access();
    let delete = v1::DeleteAccessKeyRequest { access_key_id: world.admin_key().0.into() };
    let refused = access.delete_access_key(delete.clone()).await.unwrap_err();
    assert_eq!(why(&refused), because(Code::FailedPrecondition, "LastAdminAccessKey", ""));
    world.another(AccessKeyRole::Admin, None).await;
    access.delete_access_key(delete).await.unwrap();
}

#[tokio::test]
async fn a_viewer_reads_without_secrets_and_an_operator_manages_no_keys() {
    let world = World::new().await;
    let (viewer, operator) = (
        world.another(AccessKeyRole::Viewer, None).await,
        world.another(AccessKeyRole::Operator, None).await,
    );
    let product_key = product(&operator, "lamp").await;

    let query = v1::QueryProductRequest { product_key: product_key.clone() };
    let seen = viewer.devices().query_product(query.clone()).await.unwrap().into_inner();
    assert_eq!(seen.product_secret, None);
    let seen = operator.devices().query_product(query).await.unwrap().into_inner();
    assert_eq!(seen.product_secret.unwrap().len(), 32);

    let register = v1::RegisterDeviceRequest { product_key, ..Default::default() };
    let refused = viewer.devices().register_device(register).await.unwrap_err();
    assert_eq!(why(&refused), because(Code::PermissionDenied, "NoPermission", ""));
    let keys = v1::ListAccessKeysRequest::default();
    let refused = operator.access().list_access_keys(keys).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn another_account_is_not_there() {
    let world = World::new().await;
    let (admin, stranger) = (world.admin(), world.stranger().await);
    let product_key = product(&admin, "lamp").await;
    let query = v1::QueryProductRequest { product_key };
    let refused = stranger.devices().query_product(query).await.unwrap_err();
    assert_eq!(why(&refused), because(Code::NotFound, "iot.prod.NotExistedProduct", ""));
    let listed = stranger.devices().query_product_list(v1::QueryProductListRequest::default()).await;
    assert_eq!(listed.unwrap().into_inner().total, 0);

    let refused = stranger.access().list_accounts(v1::ListAccountsRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let keys = v1::ListAccessKeysRequest { account_id: Some("1".into()), ..Default::default() };
    let refused = stranger.access().list_access_keys(keys).await.unwrap_err();
    assert_eq!(why(&refused), because(Code::NotFound, "iot.common.InvalidTenant", ""));
    let delete = v1::DeleteAccessKeyRequest { access_key_id: world.admin_key().0.into() };
    assert_eq!(stranger.access().delete_access_key(delete).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn keys_and_accounts_are_listed_page_by_page() {
    let world = World::new().await;
    for _ in 0..4 {
        world.another(AccessKeyRole::Viewer, None).await;
    }
    let (mut token, mut seen) = (String::new(), Vec::new());
    loop {
        let request =
            v1::ListAccessKeysRequest { page_size: Some(2), page_token: token, ..Default::default() };
        let page = world.admin().access().list_access_keys(request).await.unwrap().into_inner();
        assert_eq!(page.total, 5);
        seen.extend(page.access_keys.into_iter().map(|key| key.access_key_id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 5);

    let request = v1::CreateAccountRequest { account_name: "second".into() };
    let mut access = world.admin().access();
    access.create_account(request.clone()).await.unwrap();
    let twice = access.create_account(request).await.unwrap_err();
    assert_eq!(why(&twice), because(Code::AlreadyExists, "AccountNameExisted", ""));
    let accounts = access.list_accounts(v1::ListAccountsRequest::default()).await.unwrap().into_inner();
    assert_eq!(accounts.accounts.len(), 2);
}

#[tokio::test]
async fn the_first_key_is_made_once_or_chosen() {
    let world = World::new().await;
    let commands = Commands::new(world.shell.clone());
    assert_eq!(commands.ensure_admin_key(START, None).await.unwrap(), None);

    let chosen = Some(("chosen-key", "too short"));
    assert!(commands.ensure_admin_key(START, chosen).await.is_err());
    let chosen = Some(("chosen-key", "0123456789abcdef"));
    let (id, secret) = commands.ensure_admin_key(START, chosen).await.unwrap().unwrap();
    let caller = world.caller(Some((id.as_str(), &secret)));
    caller.access().list_accounts(v1::ListAccountsRequest::default()).await.unwrap();
    assert_eq!(commands.ensure_admin_key(START, chosen).await.unwrap(), None);
    // A key is not taken over by whoever names it.
    let other = Some(("chosen-key", "fedcba9876543210"));
    assert!(commands.ensure_admin_key(START, other).await.is_err());
}
