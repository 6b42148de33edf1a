//! The kinds of services.

use super::super::config::AddedColumn;
use super::answer::{Answer, RequestError};
use super::config::Service;
use super::dynamodb::DynamoDbClient;
use super::http::HttpClient;
use super::postgres::PostgresClient;
use crate::model::Clock;

/// Asks a service for one key at a time.
#[derive(Debug)]
pub(super) enum Client {
    Http(HttpClient),
    Postgres(Box<PostgresClient>),
    DynamoDb(Box<DynamoDbClient>),
}

impl Client {
    pub(super) fn build(
        service: Service<'_>,
        add: &[AddedColumn],
        clock: Clock,
    ) -> Result<Self, String> {
        Ok(match service {
            Service::Http(config) => Self::Http(HttpClient::build(config, add, clock)?),
            Service::Postgres(config) => {
                Self::Postgres(Box::new(PostgresClient::build(config, add)?))
            }
            Service::DynamoDb(config) => {
                Self::DynamoDb(Box::new(DynamoDbClient::build(config, add, clock)?))
            }
        })
    }

    pub(super) async fn ask(&self, key: &str) -> Result<Answer, RequestError> {
        match self {
            Self::Http(client) => client.ask(key).await,
            Self::Postgres(client) => client.ask(key).await,
            Self::DynamoDb(client) => client.ask(key).await,
        }
    }
}
