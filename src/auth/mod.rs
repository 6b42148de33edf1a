//! Credentials: those that expire, Amazon's, and requests that are signed with them.
//!
//! Level 0: this imports nothing of weir.

mod aws;
mod bucket;
mod msk;
mod region;
mod renewed;
mod sdk_http;
mod signature;
pub mod token;
mod web_socket;

pub use aws::{AwsCredentials, AwsIdentity, AwsKeys, AwsRole};
#[cfg(feature = "kinesis")]
pub use aws::{are_nowhere, environment_region};
pub use aws_credential_types::Credentials as AwsKeySet;
pub use bucket::BucketCredentials;
pub use msk::msk_token;
pub use region::{is_region, prometheus_region};
pub use renewed::{Fetched, NoCredentials, Renewed};
#[cfg(feature = "kinesis")]
pub use sdk_http::StreamingHttp;
pub use signature::{Scope, SignatureError, clean_path, sign};
pub use web_socket::presigned_web_socket;
