//! What EC2's refusals mean to a pool.
//!
//! The codes are those of "Error codes for the Amazon EC2 API"
//! (docs.aws.amazon.com/ec2/latest/devguide/errors-overview.html). A code that
//! is not here is told as [`ErrorKind::Unknown`], with EC2's words.

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use vmpool_core::{ErrorKind, LaunchOutcome, ProviderError};

/// The kind of failure that EC2's `code` stands for.
pub fn kind_of(code: &str) -> ErrorKind {
    match code {
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "EC2ThrottledException" => ErrorKind::Throttled { retry_after: None },

        "InsufficientInstanceCapacity"
        | "InsufficientCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientReservedInstanceCapacity"
        | "InsufficientFreeAddressesInSubnet"
        | "InsufficientAddressCapacity"
        | "InsufficientVolumeCapacity"
        | "UnfulfillableCapacity"
        | "ReservationCapacityExceeded"
        | "SpotMaxPriceTooLow"
        // The type is not offered in that zone; others may have it.
        | "Unsupported" => ErrorKind::NoCapacity,

        "InstanceLimitExceeded"
        | "VcpuLimitExceeded"
        | "MaxSpotInstanceCountExceeded"
        | "MaxSpotFleetRequestCountExceeded"
        | "VolumeLimitExceeded"
        | "MaxIOPSLimitExceeded"
        | "NetworkInterfaceLimitExceeded"
        | "AddressLimitExceeded"
        | "ResourceCountExceeded"
        | "SnapshotLimitExceeded" => ErrorKind::Quota,

        "UnauthorizedOperation"
        | "AccessDenied"
        | "AccessDeniedException"
        | "AuthFailure"
        | "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException"
        | "OperationNotPermitted"
        | "OptInRequired"
        | "Blocked"
        | "PendingVerification"
        | "Client.InvalidKMSKey.NotAuthorized" => ErrorKind::Permission,

        "InvalidInstanceID.NotFound"
        | "InvalidInstanceID.Malformed"
        // A template that was just made is not known everywhere at once.
        | "InvalidLaunchTemplateName.NotFoundException"
        | "InvalidLaunchTemplateId.NotFound" => ErrorKind::NotFound,

        "UnsupportedOperation" | "UnsupportedHibernationConfiguration" => ErrorKind::Unsupported,

        // Credentials that were just renewed are not known everywhere at once.
        "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "IncorrectInstanceState"
        | "IncorrectState"
        | "InternalError"
        | "InternalFailure"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "Unavailable"
        | "RequestTimeout"
        | "RequestTimeoutException" => ErrorKind::Transient,

        _ if is_of_the_template(code) => ErrorKind::BadSpec,
        _ => ErrorKind::Unknown,
    }
}

/// Families of codes that blame what was asked for.
fn is_of_the_template(code: &str) -> bool {
    const FAMILIES: [&str; 14] = [
        "InvalidAMIID",
        "InvalidAMIName",
        "InvalidBlockDeviceMapping",
        "InvalidGroup",
        "InvalidGroupId",
        "InvalidSecurityGroupID",
        "InvalidInstanceType",
        "InvalidKeyPair",
        "InvalidParameter",
        "InvalidSnapshot",
        "InvalidSubnet",
        "InvalidSubnetID",
        "InvalidUserData",
        "InvalidZone",
    ];
    const CODES: [&str; 12] = [
        "InvalidParameterCombination",
        "InvalidParameterValue",
        "InvalidParameterDependency",
        "InvalidIamInstanceProfileArn.Malformed",
        "InvalidTagKey.Malformed",
        "TagLimitExceeded",
        "MissingParameter",
        "UnknownParameter",
        "SecurityGroupsPerInstanceLimitExceeded",
        "SecurityGroupsPerInterfaceLimitExceeded",
        "InvalidLaunchTemplateName.MalformedException",
        "InvalidVirtualName",
    ];
    let family = code.split('.').next().unwrap_or(code);
    FAMILIES.contains(&family) || CODES.contains(&code)
}

/// What EC2 said, or what kept it from saying anything.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Said(String);

impl Said {
    /// EC2's code and message.
    pub(crate) fn new(code: &str, message: &str) -> Self {
        Self(format!("{code}: {message}"))
    }
}

/// The failure of a call that attempted `attempted`.
pub(crate) fn failed<E, R>(attempted: impl Into<String>, error: &SdkError<E, R>) -> ProviderError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    let (kind, said) = match error {
        SdkError::ServiceError(service) => {
            let service = service.err();
            let code = service.code().unwrap_or("no code");
            let message = service.message().unwrap_or("no message");
            (kind_of(code), Said::new(code, message))
        }
        // Not sent: no credentials, or a request that can't be.
        SdkError::ConstructionFailure(_) => (ErrorKind::Permission, Said(in_words(error))),
        _ => (ErrorKind::Transient, Said(in_words(error))),
    };
    ProviderError::new(kind, attempted).because(said)
}

/// What the SDK says of a call that was not answered: the error and its causes
/// in words, on one line. Its own display of both has their Rust, too.
pub(crate) fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let said = causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ");
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A launch of `count` machines that was answered with no machine: refused,
/// where it had no effect for certain, else unknown.
pub(crate) fn not_launched(count: u32, why: ProviderError, had_no_effect: bool) -> LaunchOutcome {
    let none = LaunchOutcome::default();
    if had_no_effect {
        let refused = vec![(count, why)];
        LaunchOutcome { refused, ..none }
    } else {
        let unknown = Some((count, why));
        LaunchOutcome { unknown, ..none }
    }
}

/// The call had no effect for certain: EC2 answered so, or was never asked.
/// Where an answer was lost, or EC2 failed inside, it may have had one.
pub(crate) fn had_no_effect<E, R>(error: &SdkError<E, R>) -> bool
where
    E: ProvideErrorMetadata,
{
    match error {
        SdkError::ConstructionFailure(_) => true,
        SdkError::ServiceError(service) => {
            let code = service.err().code();
            code.is_some_and(|code| !FAILED_INSIDE.contains(&code))
        }
        _ => false,
    }
}

/// Codes that tell nothing of what was done.
const FAILED_INSIDE: [&str; 8] = [
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "ServiceUnavailable",
    "Unavailable",
    "RequestTimeout",
    "RequestTimeoutException",
    // Another request had the same token: this order was launched before, by
    // bytes that are not these.
    "IdempotentParameterMismatch",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusals_that_decide_what_a_pool_does_have_their_kinds_p8() {
        let throttled = ErrorKind::Throttled { retry_after: None };
        for (code, kind) in [
            ("RequestLimitExceeded", throttled),
            ("InsufficientInstanceCapacity", ErrorKind::NoCapacity),
            ("Unsupported", ErrorKind::NoCapacity),
            ("VcpuLimitExceeded", ErrorKind::Quota),
            ("UnauthorizedOperation", ErrorKind::Permission),
            ("InvalidAMIID.NotFound", ErrorKind::BadSpec),
            ("InvalidAMIID.Unavailable", ErrorKind::BadSpec),
            ("InvalidSubnetID.NotFound", ErrorKind::BadSpec),
            ("InvalidParameterValue", ErrorKind::BadSpec),
            ("InvalidInstanceID.NotFound", ErrorKind::NotFound),
            ("InternalError", ErrorKind::Transient),
            ("SomethingNew", ErrorKind::Unknown),
        ] {
            assert_eq!(kind_of(code), kind, "{code}");
        }
    }

    #[test]
    fn a_call_that_was_not_answered_is_told_in_words_on_one_line() {
        #[derive(Debug, thiserror::Error)]
        #[error("no credentials. Attempted:\n  Environment: not set\n")]
        struct Cause;
        #[derive(Debug, thiserror::Error)]
        #[error("dispatch failure")]
        struct Failed(#[source] Cause);

        assert_eq!(
            in_words(&Failed(Cause)),
            "dispatch failure: no credentials. Attempted: Environment: not set"
        );
    }
}
