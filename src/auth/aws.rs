//! Amazon's credentials: where the SDK finds them, and the role that is taken on with them.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;

use super::renewed::{Fetched, NoCredentials, Renewed};
use super::sdk_http::SdkHttp;

/// The name of a role's session, where none is given.
const SESSION_NAME: &str = "weir";

/// Who asks Amazon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AwsIdentity {
    /// Where the security token service is asked, unless the environment or the profile says so.
    pub region: Option<String>,
    /// A profile of the shared configuration files; then nothing else is looked at.
    pub profile: Option<String>,
    /// Keys that were given; then nothing else is looked at.
    pub keys: Option<AwsKeys>,
    /// A role to take on with what was found.
    pub role: Option<AwsRole>,
}

/// A pair of keys.
#[derive(Clone, PartialEq, Eq)]
pub struct AwsKeys {
    /// Who signs.
    pub access_key_id: String,
    /// What is signed with.
    pub secret_access_key: String,
}

impl std::fmt::Debug for AwsKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AwsKeys")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// A role, maybe of another account.
#[derive(Clone, PartialEq, Eq)]
pub struct AwsRole {
    /// Its name: `arn:aws:iam::123456789012:role/metrics`.
    pub arn: String,
    /// What its owner asks for, so that nobody else takes it on through us.
    pub external_id: Option<String>,
    /// What the owner's logs call us.
    pub session_name: Option<String>,
}

impl std::fmt::Debug for AwsRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AwsRole")
            .field("arn", &self.arn)
            .field("session_name", &self.session_name)
            .finish_non_exhaustive()
    }
}

/// The credentials of an identity, fetched when they are needed and renewed before they expire.
/// They are looked for anew each time, so a changed profile file counts.
#[derive(Debug)]
pub struct AwsCredentials {
    identity: AwsIdentity,
    renewed: Renewed<Credentials>,
}

impl AwsCredentials {
    /// Nothing is looked for yet.
    pub fn new(identity: AwsIdentity) -> Self {
        Self {
            identity,
            renewed: Renewed::default(),
        }
    }

    /// The credentials of now, which is in milliseconds since the epoch.
    ///
    /// # Errors
    /// There are none, or who has them does not answer.
    pub async fn get(&self, now_ms: i64) -> Result<Arc<Credentials>, NoCredentials> {
        self.renewed.get(|| fetch(&self.identity, now_ms)).await
    }

    /// See [`Renewed::refused`].
    pub fn refused(&self, credentials: &Arc<Credentials>) -> bool {
        self.renewed.refused(credentials)
    }
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(
        "there are no credentials of AWS in the environment, in its profiles, of a web identity, of \
         a container or of this machine; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give \
         the machine a role"
    )]
    Nowhere,
    #[error("the profile {0} has no credentials of AWS")]
    Profile(String),
    #[error("there are no credentials of AWS for the role {arn}")]
    Role {
        arn: String,
        #[source]
        error: Box<dyn Error + Send + Sync>,
    },
    #[error("no credentials of AWS")]
    Provider(#[source] CredentialsError),
    #[error("the credentials of AWS that were found have expired")]
    Expired,
}

/// Whether it is known that there are no credentials at all, so that waiting will find none.
#[cfg(feature = "kinesis")]
pub fn are_nowhere(error: &NoCredentials) -> bool {
    match error.cause::<FetchError>() {
        Some(FetchError::Nowhere | FetchError::Profile(_)) => true,
        Some(FetchError::Role { error, .. }) => error
            .downcast_ref()
            .is_some_and(|error| matches!(error, CredentialsError::CredentialsNotLoaded(_))),
        _ => false,
    }
}

async fn fetch(identity: &AwsIdentity, now_ms: i64) -> Result<Fetched<Credentials>, FetchError> {
    let sdk = sdk(identity).await;
    let found = match &identity.role {
        None => {
            let provider = sdk.credentials_provider().ok_or(FetchError::Nowhere)?;
            provider.provide_credentials().await
        }
        Some(role) => {
            let session = role.session_name.as_deref().unwrap_or(SESSION_NAME);
            let mut builder = AssumeRoleProvider::builder(&role.arn)
                .session_name(session)
                .configure(&sdk);
            if let Some(id) = &role.external_id {
                builder = builder.external_id(id);
            }
            builder.build().await.provide_credentials().await
        }
    };
    let value = found.map_err(|error| explained(identity, error))?;
    let lifetime = match value.expiry() {
        None => None,
        Some(end) => {
            let now = Duration::from_millis(u64::try_from(now_ms).unwrap_or_default());
            let left = end.duration_since(UNIX_EPOCH + now);
            Some(left.map_err(|_| FetchError::Expired)?)
        }
    };
    Ok(Fetched { value, lifetime })
}

fn explained(identity: &AwsIdentity, error: CredentialsError) -> FetchError {
    if let Some(role) = &identity.role {
        let arn = role.arn.clone();
        let error = error.into();
        return FetchError::Role { arn, error };
    }
    match (&identity.profile, error) {
        (Some(profile), CredentialsError::CredentialsNotLoaded(_)) => {
            FetchError::Profile(profile.clone())
        }
        (None, CredentialsError::CredentialsNotLoaded(_)) => FetchError::Nowhere,
        (_, error) => FetchError::Provider(error),
    }
}

/// The region that the environment or the shared files of AWS name.
#[cfg(feature = "kinesis")]
pub async fn environment_region() -> Option<String> {
    let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::builder().build());
    Some(region.region().await?.to_string())
}

/// The SDK's view of the environment, and the identity's first credentials in it.
async fn sdk(identity: &AwsIdentity) -> SdkConfig {
    let mut profile_region = ProfileFileRegionProvider::builder();
    if let Some(profile) = &identity.profile {
        profile_region = profile_region.profile_name(profile);
    }
    let mut region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(profile_region.build());
    if let Some(of_service) = &identity.region {
        region = region.or_else(Region::new(of_service.clone()));
    }
    let region = region.region().await;
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(SdkHttp)
        .region(region.clone());
    if let Some(keys) = &identity.keys {
        let keys = Credentials::new(
            &keys.access_key_id,
            &keys.secret_access_key,
            None,
            None,
            "given",
        );
        return loader.credentials_provider(keys).load().await;
    }
    let Some(profile) = &identity.profile else {
        return loader.load().await;
    };
    let config = ProviderConfig::without_region()
        .with_http_client(SdkHttp)
        .with_region(region);
    let provider = ProfileFileCredentialsProvider::builder()
        .configure(&config)
        .profile_name(profile)
        .build();
    let loader = loader.profile_name(profile).credentials_provider(provider);
    loader.load().await
}
