//! The versions of the protocol.

pub(in crate::write::remote_write) mod encode;
mod encode_v1;
mod encode_v2;
mod histogram;
pub(in crate::write::remote_write) mod negotiation;
#[cfg(test)]
mod negotiation_tests;
pub(in crate::write::remote_write) mod proto;
#[cfg(test)]
pub(in crate::write::remote_write) mod proto_v2;
pub(in crate::write::remote_write) mod size;
mod symbols;
pub(in crate::write::remote_write) mod wire;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which protocol a receiver is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
pub enum ProtocolChoice {
    /// 2.0 where the receiver understands it, else 1.0; it is asked with the first samples.
    #[serde(rename = "auto")]
    Auto,
    /// Remote-Write 1.0, which every receiver understands.
    #[default]
    #[serde(rename = "1.0")]
    V1,
    /// Remote-Write 2.0 (2.0-rc.4).
    #[serde(rename = "2.0")]
    V2,
}

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// 1.0: each series with all of its labels.
    V1,
    /// 2.0: labels by their numbers in a table of texts, and metadata with each series.
    V2,
}

impl Protocol {
    /// Its name in a pipeline file.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "1.0",
            Self::V2 => "2.0",
        }
    }

    /// The header `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::V1 => "application/x-protobuf",
            Self::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    /// The header `X-Prometheus-Remote-Write-Version`.
    pub fn version(self) -> &'static str {
        match self {
            Self::V1 => "0.1.0",
            Self::V2 => "2.0.0",
        }
    }
}

impl ProtocolChoice {
    /// The one whose requests may be the larger ones.
    pub(super) fn largest(self) -> Protocol {
        match self {
            Self::V1 => Protocol::V1,
            Self::V2 | Self::Auto => Protocol::V2,
        }
    }
}
