//! The one table of error codes, for all faces.
//!
//! Codes that begin with `iot.ota.` are our own names, but for `iot.ota.FirmwareNotFound`: the seed's list
//! of them is not public. They stand here alone so that they can be replaced when it is known.

/// What an error is about, for faces that have their own small set of outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The request can never succeed as it is.
    InvalidArgument,
    /// What it names does not exist, or belongs to another account.
    NotFound,
    /// What it wants to make exists.
    AlreadyExists,
    /// It does not fit the state of things now.
    FailedPrecondition,
    /// Nobody knows who asks.
    Unauthenticated,
    /// Too much, or too often.
    ResourceExhausted,
    /// It is known, but not served.
    Unimplemented,
    /// Not now; safe to repeat.
    Unavailable,
    /// Our fault.
    Internal,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $http:literal, $class:ident;)+) => {
        /// An error code of the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {$(
            $(#[$doc])*
            $name,
        )+}

        impl Code {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The code as callers see it. [`Code::MissingParameter`] and [`Code::InvalidParameter`] carry
            /// their parameter's name there: see [`Refusal::code_text`](super::Refusal::code_text).
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {$( Self::$name => $text, )+}
            }

            /// The status of the HTTP answer. Business errors answer 200, as the seed has it.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self {$( Self::$name => $http, )+}
            }

            /// What the error is about.
            #[must_use]
            pub const fn class(self) -> Class {
                match self {$( Self::$name => Class::$class, )+}
            }
        }
    };
}

codes! {
    /// A required parameter is absent: `Missing{Parameter}`.
    MissingParameter = "MissingParameter", 400, InvalidArgument;
    /// A value breaks its parameter's rule: `Invalid{Parameter}`.
    InvalidParameter = "InvalidParameter", 400, InvalidArgument;
    /// The same client token came with another body.
    IdempotentParameterMismatch = "IdempotentParameterMismatch", 400, InvalidArgument;
    /// No such action or version.
    InvalidApiNotFound = "InvalidApi.NotFound", 404, Unimplemented;
    /// No action is named.
    MissingAction = "MissingAction", 400, InvalidArgument;
    /// No version is named.
    MissingVersion = "MissingVersion", 400, InvalidArgument;
    /// The access key is unknown.
    AccessKeyNotFound = "InvalidAccessKeyId.NotFound", 404, Unauthenticated;
    /// The access key is disabled.
    AccessKeyInactive = "InvalidAccessKeyId.Inactive", 400, Unauthenticated;
    /// The signature is wrong.
    SignatureDoesNotMatch = "SignatureDoesNotMatch", 400, Unauthenticated;
    /// Parts of the signature are absent.
    IncompleteSignature = "IncompleteSignature", 400, Unauthenticated;
    /// The signature's instant cannot be read.
    TimeStampFormat = "InvalidTimeStamp.Format", 400, Unauthenticated;
    /// The signature's instant is more than 15 minutes off.
    TimeStampExpired = "InvalidTimeStamp.Expired", 400, Unauthenticated;
    /// The signature's nonce was seen before.
    SignatureNonceUsed = "SignatureNonceUsed", 400, Unauthenticated;
    /// The signature's method is unknown.
    InvalidSignatureMethod = "InvalidSignatureMethod", 400, Unauthenticated;
    /// The HTTP method is not served.
    UnsupportedHttpMethod = "UnsupportedHTTPMethod", 400, InvalidArgument;
    /// Too many calls of all together.
    Throttling = "Throttling", 400, ResourceExhausted;
    /// Too many calls of this account.
    ThrottlingUser = "Throttling.User", 400, ResourceExhausted;
    /// Busy or unreachable; safe to repeat.
    ServiceUnavailable = "ServiceUnavailable", 503, Unavailable;
    /// An internal error.
    SystemException = "iot.system.SystemException", 200, Internal;
    /// The instance id is absent or not ours.
    InstanceNotFound = "iot.system.InstanceNotFound", 200, NotFound;
    /// A bad request for which no other code is.
    IllegalRequest = "iot.system.IllegalRequest", 200, InvalidArgument;
    /// The page is outside its limits.
    InvalidPageParams = "iot.common.InvalidPageParams", 200, InvalidArgument;
    /// The account is unknown.
    InvalidTenant = "iot.common.InvalidTenant", 200, Unauthenticated;
    /// The account's name is taken.
    AccountNameExisted = "AccountNameExisted", 400, AlreadyExists;
    /// An account keeps at least one active key of role ADMIN.
    LastAdminAccessKey = "LastAdminAccessKey", 400, FailedPrecondition;

    /// The product does not exist.
    ProductNotFound = "iot.prod.NotExistedProduct", 200, NotFound;
    /// The product's name is taken.
    ProductNameExisted = "iot.prod.AlreadyExistedProductName", 200, AlreadyExists;
    /// The text is no product key.
    InvalidProductKey = "iot.prod.InvalidFormattedProductkey", 200, InvalidArgument;
    /// The text is no product name.
    InvalidProductName = "iot.prod.InvalidFormattedProductName", 200, InvalidArgument;
    /// The product key is empty.
    NullProductKey = "iot.prod.NullProductKey", 200, InvalidArgument;

    /// The device does not exist.
    DeviceNotFound = "iot.device.NotExistedDevice", 200, NotFound;
    /// The device's name is taken.
    DeviceNameExisted = "iot.device.AlreadyExistedDeviceName", 200, AlreadyExists;
    /// The text is no device name.
    InvalidDeviceName = "iot.device.InvalidFormattedDeviceName", 200, InvalidArgument;
    /// The batch registration does not exist.
    DeviceApplyNotFound = "iot.device.DeviceApplyIsNotFound", 200, NotFound;
    /// The batch registration is not named.
    NullApplyId = "iot.device.NullApplyId", 200, InvalidArgument;
    /// The product has devices, or a job of it is not finished.
    ProductInUse = "iot.prod.ProductInUse", 200, FailedPrecondition;
    /// Too many devices at once.
    DeviceCountExceeded = "iot.device.DeviceCountExceeded", 200, InvalidArgument;

    /// The firmware does not exist.
    FirmwareNotFound = "iot.ota.FirmwareNotFound", 200, NotFound;
    /// The firmware's name is taken.
    FirmwareNameExisted = "iot.ota.FirmwareNameExisted", 200, AlreadyExists;
    /// The firmware is not verified, so upgrade jobs may not use it.
    FirmwareNotVerified = "iot.ota.FirmwareNotVerified", 200, FailedPrecondition;
    /// The firmware is verified, or needs no verification.
    FirmwareAlreadyVerified = "iot.ota.FirmwareAlreadyVerified", 200, FailedPrecondition;
    /// A verify job of the firmware is running.
    FirmwareVerifying = "iot.ota.FirmwareVerifying", 200, FailedPrecondition;
    /// A job of the firmware is not finished.
    FirmwareInUse = "iot.ota.FirmwareInUse", 200, FailedPrecondition;
    /// What was uploaded does not match the digest or size given.
    FirmwareMismatch = "iot.ota.FirmwareMismatch", 200, FailedPrecondition;
    /// The account has too many firmwares.
    TooManyFirmwares = "iot.ota.TooManyFirmwares", 200, ResourceExhausted;
    /// The job does not exist.
    JobNotFound = "iot.ota.JobNotFound", 200, NotFound;
    /// The task does not exist.
    TaskNotFound = "iot.ota.TaskNotFound", 200, NotFound;
    /// The group does not exist.
    GroupNotFound = "iot.ota.GroupNotFound", 200, NotFound;
    /// The group's name is taken.
    GroupNameExisted = "iot.ota.GroupNameExisted", 200, AlreadyExists;
    /// The product has no such module.
    ModuleNotFound = "iot.ota.ModuleNotFound", 200, NotFound;
    /// The product has a module of this name.
    ModuleNameExisted = "iot.ota.ModuleNameExisted", 200, AlreadyExists;
    /// The product has as many modules as it may.
    TooManyModules = "iot.ota.TooManyModules", 200, ResourceExhausted;
    /// Target selection and its parameters do not fit together.
    InvalidTargetSelection = "iot.ota.InvalidTargetSelection", 200, InvalidArgument;
    /// The start is outside its limits.
    InvalidScheduleTime = "iot.ota.InvalidScheduleTime", 200, InvalidArgument;
    /// The end is outside its limits.
    InvalidScheduleFinishTime = "iot.ota.InvalidScheduleFinishTime", 200, InvalidArgument;
    /// Retry interval or count.
    InvalidRetry = "iot.ota.InvalidRetry", 200, InvalidArgument;
    /// A timeout is outside its limits.
    InvalidTimeout = "iot.ota.InvalidTimeout", 200, InvalidArgument;
    /// The rate is outside its limits.
    InvalidMaximumPerMinute = "iot.ota.InvalidMaximumPerMinute", 200, InvalidArgument;
    /// The percentage is none, or comes to no device.
    InvalidGrayPercent = "iot.ota.InvalidGrayPercent", 200, InvalidArgument;
    /// Number, form or size of tags.
    InvalidTags = "iot.ota.InvalidTags", 200, InvalidArgument;
    /// Number, form or meaning of source versions.
    InvalidSrcVersion = "iot.ota.InvalidSrcVersion", 200, InvalidArgument;
    /// Number, form or existence of target devices.
    InvalidTargetDevices = "iot.ota.InvalidTargetDevices", 200, InvalidArgument;
    /// The device list file was never uploaded, or is too large.
    DeviceListFileInvalid = "iot.ota.DeviceListFileInvalid", 200, InvalidArgument;
    /// The firmware has a running dynamic job.
    DynamicJobExisted = "iot.ota.DynamicJobExisted", 200, AlreadyExists;
    /// The job's status does not allow it.
    JobStatusNotAllowed = "iot.ota.JobStatusNotAllowed", 200, FailedPrecondition;
    /// The task's status does not allow it.
    TaskStatusNotAllowed = "iot.ota.TaskStatusNotAllowed", 200, FailedPrecondition;
    /// Too many tasks at once.
    TooManyTasks = "iot.ota.TooManyTasks", 200, InvalidArgument;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_codes_read_the_same() {
        let texts: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
    }

    #[test]
    fn business_errors_answer_200_and_all_others_do_not() {
        for code in Code::ALL {
            assert_eq!(code.as_str().starts_with("iot."), code.http_status() == 200, "{code:?}");
        }
    }
}
