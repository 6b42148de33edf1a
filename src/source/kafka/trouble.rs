//! What goes wrong and may pass.

use rdkafka::types::RDKafkaErrorCode as Code;

/// Kinds of what goes wrong, and is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody gives us a token, or a broker does not take the one that we have.
    Authentication,
    /// We may not do something, as reading a topic.
    Authorization,
    /// The certificate of a broker is none for us, or ours none for it.
    Tls,
    /// A topic does not exist.
    MissingTopic,
    Other,
}

impl Trouble {
    /// All kinds.
    pub(super) const ALL: [Self; 5] = [
        Self::Authentication,
        Self::Authorization,
        Self::Tls,
        Self::MissingTopic,
        Self::Other,
    ];

    /// The kind of an error.
    pub(super) fn of(code: Option<Code>) -> Self {
        match code {
            Some(Code::Authentication | Code::SaslAuthenticationFailed) => Self::Authentication,
            Some(
                Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed,
            ) => Self::Authorization,
            Some(Code::SSL) => Self::Tls,
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Self::MissingTopic,
            _ => Self::Other,
        }
    }

    /// The value of the label `error`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::Authorization => "authorization",
            Self::Tls => "tls",
            Self::MissingTopic => "missing_topic",
            Self::Other => "other",
        }
    }
}
