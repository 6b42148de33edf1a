//! Tokens for the brokers of Kafka, also for others than the source.

use std::sync::Arc;

use crate::model::{BrokerTokens, SaslConfig};

/// Who gives the tokens that a section asks for; nobody where it needs none.
///
/// # Errors
/// They cannot be fetched here at all. Nothing is asked of anybody yet.
#[cfg(feature = "kafka")]
pub fn broker_tokens(sasl: Option<&SaslConfig>) -> Result<Option<Arc<dyn BrokerTokens>>, String> {
    let tokens = super::kafka::Tokens::new(sasl, &crate::model::Clock::System)?;
    Ok(tokens.map(|tokens| Arc::new(tokens) as Arc<dyn BrokerTokens>))
}

/// Without Kafka nobody needs tokens.
///
/// # Errors
/// None.
#[cfg(not(feature = "kafka"))]
pub fn broker_tokens(_: Option<&SaslConfig>) -> Result<Option<Arc<dyn BrokerTokens>>, String> {
    Ok(None)
}
