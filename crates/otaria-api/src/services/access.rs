//! Accounts, access keys, and what the server says about itself.

use std::sync::Arc;

use otaria_core::rules::MQTT_MAX_BYTES;
use otaria_engine::command::REGISTER_MAX;
use otaria_ports::store::{AccessKey, KeyUpdate};
use otaria_proto::v1;
use otaria_proto::v1::access_service_server::AccessService;
use tonic::{Request, Response, Status};

use super::{FaceKind, Shared};
use crate::convert::{access as convert, count, instant};
use crate::errors::status_of;
use crate::paging::{Asked, PAGE_SIZE_MAX, Page};

pub(crate) struct Access(pub(crate) Arc<Shared>);

#[tonic::async_trait]
impl AccessService for Access {
    async fn create_account(
        &self,
        request: Request<v1::CreateAccountRequest>,
    ) -> Result<Response<v1::CreateAccountResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let account = self.0.commands.create_account(&caller, now, &request.account_name).await;
        let account = convert::account(&account.map_err(status_of)?);
        Ok(Response::new(v1::CreateAccountResponse { account: Some(account) }))
    }

    async fn list_accounts(
        &self,
        request: Request<v1::ListAccountsRequest>,
    ) -> Result<Response<v1::ListAccountsResponse>, Status> {
        let (caller, _, request) = self.0.open(request)?;
        let asked = by_token(request.page_size, &request.page_token);
        let page: Page<i64> = Page::read(asked, &["ListAccounts"], |text| text.parse().ok())?;
        let accounts = self.0.commands.list_accounts(&caller).await.map_err(status_of)?;
        let total = accounts.len() as u64;
        let after = page.after.unwrap_or(0);
        let mut rest = accounts.iter().filter(|account| account.no.0 > after);
        let rows: Vec<_> = rest.by_ref().take(page.size).collect();
        let next = rest.next().and(rows.last()).map(|last| last.no);
        let answer = page.answer(total, next);
        Ok(Response::new(v1::ListAccountsResponse {
            accounts: rows.into_iter().map(convert::account).collect(),
            next_page_token: answer.next_page_token,
            total: answer.total,
        }))
    }

    async fn create_access_key(
        &self,
        request: Request<v1::CreateAccessKeyRequest>,
    ) -> Result<Response<v1::CreateAccessKeyResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let role = convert::role(request.role)?;
        let account = request.account_id.as_deref();
        let made = self.0.commands.create_access_key(&caller, now, account, role).await;
        let made = made.map_err(status_of)?;
        Ok(Response::new(v1::CreateAccessKeyResponse {
            access_key: Some(convert::key(&made.key)),
            access_key_secret: made.secret,
        }))
    }

    async fn list_access_keys(
        &self,
        request: Request<v1::ListAccessKeysRequest>,
    ) -> Result<Response<v1::ListAccessKeysResponse>, Status> {
        let (caller, _, request) = self.0.open(request)?;
        let account = request.account_id.as_deref();
        let asked = by_token(request.page_size, &request.page_token);
        let list = ["ListAccessKeys", account.unwrap_or_default()];
        let page: Page<String> = Page::read(asked, &list, |text| Some(text.to_owned()))?;
        let mut keys = self.0.commands.list_access_keys(&caller, account).await.map_err(status_of)?;
        keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        let total = keys.len() as u64;
        // A key that was deleted meanwhile is no place to go on from: then the list begins anew.
        let begin = match &page.after {
            None => 0,
            Some(id) => keys.iter().position(|key| key.id.as_str() == id).map_or(0, |at| at + 1),
        };
        let mut rest = keys.iter().skip(begin);
        let rows: Vec<&AccessKey> = rest.by_ref().take(page.size).collect();
        let next = rest.next().and(rows.last()).map(|last| last.id.clone());
        let answer = page.answer(total, next);
        Ok(Response::new(v1::ListAccessKeysResponse {
            access_keys: rows.into_iter().map(convert::key).collect(),
            next_page_token: answer.next_page_token,
            total: answer.total,
        }))
    }

    async fn update_access_key(
        &self,
        request: Request<v1::UpdateAccessKeyRequest>,
    ) -> Result<Response<v1::UpdateAccessKeyResponse>, Status> {
        let (caller, _, request) = self.0.open(request)?;
        let update =
            KeyUpdate { role: convert::role(request.role)?, active: convert::active(request.status)? };
        let key = self.0.commands.update_access_key(&caller, &request.access_key_id, update).await;
        let key = convert::key(&key.map_err(status_of)?);
        Ok(Response::new(v1::UpdateAccessKeyResponse { access_key: Some(key) }))
    }

    async fn delete_access_key(
        &self,
        request: Request<v1::DeleteAccessKeyRequest>,
    ) -> Result<Response<v1::DeleteAccessKeyResponse>, Status> {
        let (caller, _, request) = self.0.open(request)?;
        self.0.commands.delete_access_key(&caller, &request.access_key_id).await.map_err(status_of)?;
        Ok(Response::new(v1::DeleteAccessKeyResponse {}))
    }

    async fn get_server_info(
        &self,
        request: Request<v1::GetServerInfoRequest>,
    ) -> Result<Response<v1::GetServerInfoResponse>, Status> {
        let (_, now, _) = self.0.open(request)?;
        let info = &self.0.info;
        let faces = info.faces.iter().map(|face| v1::Face {
            kind: match face.kind {
                FaceKind::Grpc => v1::FaceKind::Grpc,
                FaceKind::Http => v1::FaceKind::Http,
                FaceKind::Mqtt => v1::FaceKind::Mqtt,
            }
            .into(),
            address: face.address.clone(),
            tls: face.tls,
        });
        let limits = &self.0.commands.deps().limits;
        Ok(Response::new(v1::GetServerInfoResponse {
            version: info.version.clone(),
            faces: faces.collect(),
            limits: Some(v1::ServerLimits {
                maximum_per_minute_ceiling: limits
                    .maximum_per_minute_ceiling
                    .map(|ceiling| i32::try_from(ceiling).unwrap_or(i32::MAX)),
                device_list_max_lines: count(limits.list.max_lines),
                device_list_max_bytes: count(limits.list.max_bytes),
                firmware_file_max_bytes: count(limits.firmware_max_bytes),
                mqtt_download_max_bytes: count(MQTT_MAX_BYTES),
                register_devices_max: i32::try_from(REGISTER_MAX).unwrap_or(i32::MAX),
                page_size_max: i32::try_from(PAGE_SIZE_MAX).unwrap_or(i32::MAX),
                message_max_bytes: count(crate::MESSAGE_MAX_BYTES as u64),
                api_quota_enabled: info.api_quota,
            }),
            utc_now: Some(instant(now)),
        }))
    }
}

fn by_token(size: Option<i32>, token: &str) -> Asked<'_> {
    Asked { size, token, number: None, by_number_max: PAGE_SIZE_MAX }
}
