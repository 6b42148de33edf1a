//! A PostgreSQL database that is asked with a prepared statement.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Mutex;
use tokio_postgres::config::SslMode;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use super::super::config::AddedColumn;
use super::answer::{Answer, RequestError, field_values};
use super::config::PostgresService;
use super::tls::PostgresEncryption;

/// Classes of SQLSTATE after which another attempt may help: connection, transaction rollback,
/// insufficient resources, operator intervention. See
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
const REPEATABLE_CLASSES: [&str; 4] = ["08", "40", "53", "57"];

/// Asks one database. Queries follow each other on one connection without waiting for the answer
/// before.
#[derive(Debug)]
pub(super) struct PostgresClient {
    config: Config,
    tls: Option<PostgresEncryption>,
    query: String,
    timeout: Duration,
    add: Vec<AddedColumn>,
    session: Mutex<Option<Arc<Session>>>,
}

/// A connection with its statement.
struct Session {
    client: Client,
    statement: Statement,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

/// The settings of a connection.
///
/// # Errors
/// The URL is none. The message does not repeat it, as it may hold a password.
pub(super) fn settings(service: &PostgresService) -> Result<Config, String> {
    let mut config: Config = service.url.reveal().parse().map_err(|error| {
        format!(
            "is no address of a database ({error}); write postgres://user:password@host:5432/database"
        )
    })?;
    if config.get_hosts().is_empty() {
        return Err("has no host; write postgres://user:password@host:5432/database".to_owned());
    }
    if config.get_application_name().is_none() {
        config.application_name("weir");
    }
    if service.tls.is_some() {
        config.ssl_mode(SslMode::Require);
    } else if config.get_ssl_mode() == SslMode::Require {
        return Err("needs tls beside it; write tls: {} for the system's certificates".to_owned());
    }
    Ok(config)
}

impl PostgresClient {
    pub(super) fn build(service: &PostgresService, add: &[AddedColumn]) -> Result<Self, String> {
        let tls = service.tls.as_ref().map(PostgresEncryption::build);
        Ok(Self {
            config: settings(service).map_err(|message| format!("'url' {message}"))?,
            tls: tls.transpose()?,
            query: service.query.clone(),
            timeout: service.timeout.to_std(),
            add: add.to_vec(),
            session: Mutex::new(None),
        })
    }

    pub(super) async fn ask(&self, key: &str) -> Result<Answer, RequestError> {
        match tokio::time::timeout(self.timeout, self.query(key)).await {
            Ok(result) => result,
            Err(_) => {
                // A connection that does not answer is not used again.
                if let Ok(mut session) = self.session.try_lock() {
                    *session = None;
                }
                let millis = self.timeout.as_millis();
                Err(RequestError::repeatable(format!(
                    "no answer in {millis} ms"
                )))
            }
        }
    }

    async fn query(&self, key: &str) -> Result<Answer, RequestError> {
        let session = self.session().await?;
        let rows = session
            .client
            .query(&session.statement, &[&key])
            .await
            .map_err(|error| failure(&error))?;
        match rows.as_slice() {
            [] => Ok(Answer::Missing),
            [row] => {
                let found = field_values(&self.add, |column| value(row, column))?;
                Ok(Answer::Found(found))
            }
            rows => {
                let message = format!("the query gave {} rows for one key", rows.len());
                Err(RequestError::fatal(message))
            }
        }
    }

    /// The connection in use, or a new one.
    async fn session(&self) -> Result<Arc<Session>, RequestError> {
        let mut session = self.session.lock().await;
        if let Some(session) = session.as_ref()
            && !session.client.is_closed()
        {
            return Ok(session.clone());
        }
        let new = Arc::new(self.connect().await?);
        *session = Some(new.clone());
        Ok(new)
    }

    async fn connect(&self) -> Result<Session, RequestError> {
        let failed = |error: tokio_postgres::Error| failure(&error);
        let client = if let Some(tls) = &self.tls {
            let (client, connection) = self.config.connect(tls.clone()).await.map_err(failed)?;
            drive(connection);
            client
        } else {
            let (client, connection) = self.config.connect(NoTls).await.map_err(failed)?;
            drive(connection);
            client
        };
        let statement = client
            .prepare_typed(&self.query, &[Type::TEXT])
            .await
            .map_err(failed)?;
        self.check_columns(&statement)?;
        Ok(Session { client, statement })
    }

    fn check_columns(&self, statement: &Statement) -> Result<(), RequestError> {
        for added in &self.add {
            let wanted = added.column();
            let columns = statement.columns();
            let Some(column) = columns.iter().find(|column| column.name() == wanted) else {
                let names: Vec<_> = columns.iter().map(|column| column.name()).collect();
                let names = names.join(", ");
                return Err(RequestError::fatal(format!(
                    "the query gives no column '{wanted}'; its columns are {names}"
                )));
            };
            if !is_known(column.type_()) {
                return Err(RequestError::fatal(format!(
                    "column '{wanted}' is of type {}; cast it in the query to text, \
                     double precision or boolean",
                    column.type_()
                )));
            }
        }
        Ok(())
    }
}

/// Lets a connection work until its client is gone.
fn drive<S, T>(connection: tokio_postgres::Connection<S, T>)
where
    tokio_postgres::Connection<S, T>:
        Future<Output = Result<(), tokio_postgres::Error>> + Send + 'static,
{
    drop(tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to PostgreSQL has ended");
        }
    }));
}

fn is_known(column: &Type) -> bool {
    [
        Type::BOOL,
        Type::INT2,
        Type::INT4,
        Type::INT8,
        Type::FLOAT4,
        Type::FLOAT8,
        Type::TEXT,
        Type::VARCHAR,
        Type::BPCHAR,
        Type::NAME,
    ]
    .contains(column)
}

/// The value of a column whose type is known.
fn value(row: &Row, name: &str) -> Value {
    let place = row
        .columns()
        .iter()
        .position(|column| column.name() == name);
    let Some((place, column)) = place.and_then(|place| Some((place, row.columns().get(place)?)))
    else {
        return Value::Null;
    };
    fn get<'a, T>(row: &'a Row, place: usize) -> Value
    where
        Option<T>: tokio_postgres::types::FromSql<'a>,
        T: Into<Value>,
    {
        let value: Option<Option<T>> = row.try_get(place).ok();
        value.flatten().map_or(Value::Null, Into::into)
    }
    match *column.type_() {
        Type::BOOL => get::<bool>(row, place),
        Type::INT2 => get::<i16>(row, place),
        Type::INT4 => get::<i32>(row, place),
        Type::INT8 => get::<i64>(row, place),
        Type::FLOAT4 => get::<f32>(row, place),
        Type::FLOAT8 => get::<f64>(row, place),
        _ => get::<String>(row, place),
    }
}

fn failure(error: &tokio_postgres::Error) -> RequestError {
    use std::error::Error as _;
    let Some(database) = error.as_db_error() else {
        let cause = error.source().map(ToString::to_string);
        let message = cause.map_or(error.to_string(), |cause| format!("{error}: {cause}"));
        return RequestError::repeatable(message);
    };
    let state = database.code().code();
    let is_repeatable = REPEATABLE_CLASSES
        .iter()
        .any(|class| state.starts_with(class));
    RequestError {
        message: format!("{} (SQLSTATE {state})", database.message()),
        is_repeatable,
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> Option<String> {
        let config = serde_json::json!({ "url": url, "query": "SELECT $1" });
        settings(&serde_json::from_value(config).unwrap()).err()
    }

    #[test]
    fn says_what_is_wrong_with_an_address_and_shows_no_password() {
        assert_eq!(refused("postgres://u:p@db/fleet"), None);
        assert_eq!(refused("host=db user=u password=p"), None);
        for url in ["postgres://u:hunter2@db:port/x", "postgres:///x", "hunter2"] {
            let message = refused(url).unwrap();
            assert!(
                message.contains("postgres://user:password@host"),
                "{message}"
            );
            assert!(!message.contains("hunter2"), "{message}");
        }
        let message = refused("postgres://u@db/x?sslmode=require").unwrap();
        assert!(message.starts_with("needs tls"), "{message}");
    }
}
