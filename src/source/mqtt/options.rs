//! The settings that rumqttc is run with.

use std::sync::Arc;

use rumqttc::v5::MqttOptions as OptionsOfFive;
use rumqttc::{MqttOptions as OptionsOfThree, NetworkOptions, TlsConfiguration, Transport};

use super::super::config::{MqttConfig, MqttProtocol};
use super::super::endpoint::Endpoint;
use super::client::{CONNECT_TIMEOUT, Filter, Options};
use super::tls::tls;
use crate::auth::{AwsCredentials, AwsIdentity, AwsRole, presigned_web_socket};
use crate::model::{Clock, Secret, SignerConfig, TopicTemplate};
use crate::source::config::Retained;

/// The service's name for signatures at the gateway of AWS IoT Core.
const IOT_SERVICE: &str = "iotdevicegateway";

/// How connections to one broker are made.
#[derive(Debug)]
pub(super) struct Connecting {
    config: MqttConfig,
    endpoint: Endpoint,
    client_id: String,
    /// How many messages the broker may send before the first of them is acknowledged. It bounds
    /// what is sent again after a lost connection; not every broker keeps to it, and to one of 3.1.1
    /// it cannot be said.
    receive_maximum: u16,
    signer: Option<Signer>,
}

/// Who signs the request for a WebSocket.
#[derive(Debug)]
struct Signer {
    region: String,
    credentials: AwsCredentials,
    clock: Clock,
}

impl Connecting {
    /// How connections are made by settings whose endpoint was read.
    pub(super) fn new(
        config: MqttConfig,
        endpoint: Endpoint,
        client_id: String,
        receive_maximum: u16,
        clock: Clock,
    ) -> Self {
        Self {
            signer: config.sigv4.as_ref().map(|signer| Signer {
                region: signer.region.clone(),
                credentials: AwsCredentials::new(identity(signer)),
                clock,
            }),
            config,
            endpoint,
            client_id,
            receive_maximum,
        }
    }

    /// What is subscribed to.
    pub(super) fn filters(&self) -> Vec<Filter> {
        let topics = self.config.topics.iter();
        let templates = topics.filter_map(|topic| topic.parse::<TopicTemplate>().ok());
        let wants_retained = self.config.retained == Retained::Use;
        templates
            .map(|template| Filter {
                path: template.filter().to_owned(),
                wants_retained,
            })
            .collect()
    }

    /// Whether retained messages are left out.
    pub(super) fn ignores_retained(&self) -> bool {
        self.config.retained == Retained::Ignore
    }

    /// Whether a broker that has kept our session must not be asked again for what is subscribed
    /// to: to one of 3.1.1 it cannot be said that it is to leave out retained messages that we have.
    pub(super) fn keeps_subscriptions(&self) -> bool {
        self.config.protocol == MqttProtocol::Three
    }

    /// The greatest packet that is taken, bytes.
    pub(super) fn max_packet_bytes(&self) -> u32 {
        self.config.max_packet_bytes
    }

    /// Whether a broker is told the greatest packet that is taken.
    pub(super) fn tells_max_packet_bytes(&self) -> bool {
        self.config.protocol == MqttProtocol::Five
    }

    /// The settings of a connection, without a signature. Password and certificates are read anew.
    ///
    /// # Errors
    /// A password, certificate or key cannot be read, or does not fit; the message names the file.
    pub(super) fn options(&self) -> Result<Options, String> {
        self.options_at(self.endpoint.web_address(), 0)
    }

    /// The settings of the next connection, with a fresh signature where there is to be one. Should
    /// a packet have come that was too large, as many bytes are taken for once.
    ///
    /// # Errors
    /// As for [`options`](Self::options), or there are no credentials to sign with.
    pub(super) async fn fresh(&self, too_large: usize) -> Result<Options, String> {
        let mut address = self.endpoint.web_address();
        if let (Some(signer), Some(plain)) = (&self.signer, &address) {
            let now_ms = signer.clock.now_ms();
            let credentials = signer.credentials.get(now_ms).await;
            let credentials = credentials.map_err(|error| error.to_string())?;
            let scope = crate::auth::Scope {
                region: &signer.region,
                service: IOT_SERVICE,
                now_ms,
            };
            let signed = presigned_web_socket(plain, &credentials, scope);
            address = Some(signed.map_err(|error| error.to_string())?);
        }
        self.options_at(address, too_large)
    }

    fn options_at(&self, address: Option<String>, too_large: usize) -> Result<Options, String> {
        let config = &self.config;
        let transport = self.transport()?;
        let credentials = match &config.username {
            Some(username) => Some((username.clone(), password(config)?)),
            None => None,
        };
        let host = address.unwrap_or_else(|| self.endpoint.host.clone());
        let port = self.endpoint.port;
        // Acknowledgements are small packets: held back to be sent together, each would wait for the
        // broker's delayed answer to the one before.
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(CONNECT_TIMEOUT.as_secs());
        let most_bytes = config.max_packet_bytes as usize;
        Ok(match config.protocol {
            MqttProtocol::Five => {
                let mut options = OptionsOfFive::new(&self.client_id, host, port);
                options.set_clean_start(false);
                options.set_session_expiry_interval(Some(expiry_secs(config)));
                options.set_keep_alive(config.keep_alive.to_std());
                options.set_connection_timeout(CONNECT_TIMEOUT.as_secs());
                options.set_max_packet_size(Some(config.max_packet_bytes));
                options.set_receive_maximum(Some(self.receive_maximum));
                options.set_manual_acks(true);
                // Nothing is published, and rumqttc sets memory aside for each message that could be.
                options.set_outgoing_inflight_upper_limit(1);
                options.set_network_options(network);
                options.set_transport(transport);
                if let Some((username, password)) = credentials {
                    options.set_credentials(username, password);
                }
                Options::Five(Box::new(options))
            }
            MqttProtocol::Three => {
                let mut options = OptionsOfThree::new(&self.client_id, host, port);
                options.set_clean_session(false);
                options.set_keep_alive(config.keep_alive.to_std());
                options.set_max_packet_size(most_bytes.max(too_large), most_bytes);
                options.set_manual_acks(true);
                options.set_inflight(1);
                options.set_transport(transport);
                if let Some((username, password)) = credentials {
                    options.set_credentials(username, password);
                }
                Options::Three(Box::new((options, network)))
            }
        })
    }

    fn transport(&self) -> Result<Transport, String> {
        if !self.endpoint.tls {
            return Ok(match &self.endpoint.path {
                Some(_) => Transport::Ws,
                None => Transport::tcp(),
            });
        }
        let tls = tls(&self.config.tls.clone().unwrap_or_default())?;
        let tls = TlsConfiguration::Rustls(Arc::new(tls));
        Ok(match &self.endpoint.path {
            Some(_) => Transport::Wss(tls),
            None => Transport::tls_with_config(tls),
        })
    }
}

fn identity(signer: &SignerConfig) -> AwsIdentity {
    AwsIdentity {
        region: Some(signer.region.clone()),
        profile: signer.profile.clone(),
        keys: None,
        role: signer.role_arn.as_ref().map(|arn| AwsRole {
            arn: arn.clone(),
            external_id: signer
                .external_id
                .as_ref()
                .map(|id: &Secret| id.reveal().to_owned()),
            session_name: None,
        }),
    }
}

/// Whole seconds, as the protocol counts, rounded up.
fn expiry_secs(config: &MqttConfig) -> u32 {
    u32::try_from(config.session_expiry.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX)
}

fn password(config: &MqttConfig) -> Result<String, String> {
    let password = match &config.password_file {
        Some(path) => Some(Secret::read("password_file", path)?),
        None => config.password.clone(),
    };
    Ok(password.map_or_else(String::new, |password| password.reveal().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connecting(json: &str) -> Connecting {
        let config: MqttConfig = serde_json::from_str(json).unwrap();
        let endpoint = config.url.as_deref().unwrap().parse().unwrap();
        Connecting::new(
            config,
            endpoint,
            "weir-cars".to_owned(),
            1_000,
            Clock::Fixed(0),
        )
    }

    fn five(options: Options) -> OptionsOfFive {
        match options {
            Options::Five(options) => *options,
            Options::Three(_) => panic!("not version 5"),
        }
    }

    #[test]
    fn the_session_is_kept_and_acknowledged_by_hand() {
        let connecting = connecting(
            r#"{ "url": "mqtt://broker", "topics": ["a/{name}/#"], "session_expiry": "1500ms",
                 "username": "me", "password": "x" }"#,
        );
        let options = five(connecting.options().unwrap());
        assert_eq!(options.broker_address(), ("broker".to_owned(), 1883));
        assert_eq!(options.client_id(), "weir-cars");
        assert!(!options.clean_start() && options.manual_acks());
        assert_eq!(options.session_expiry_interval(), Some(2));
        assert_eq!(options.receive_maximum(), Some(1_000));
        assert_eq!(options.max_packet_size(), Some(1_114_112));
        let login = options.credentials().unwrap();
        assert_eq!(
            (login.username.as_str(), login.password.as_str()),
            ("me", "x")
        );
        let filter = Filter {
            path: "a/+/#".to_owned(),
            wants_retained: true,
        };
        assert_eq!(connecting.filters(), [filter]);
    }

    #[test]
    fn the_older_protocol_has_the_same_session() {
        let connecting = connecting(
            r#"{ "url": "mqtt://broker", "topics": ["a"], "protocol": "3.1.1",
                 "retained": "ignore", "max_packet_bytes": 2000 }"#,
        );
        let Options::Three(options) = connecting.options_at(None, 5_000).unwrap() else {
            panic!("not version 3.1.1");
        };
        let (options, network) = *options;
        assert_eq!(options.broker_address(), ("broker".to_owned(), 1883));
        assert_eq!(options.client_id(), "weir-cars");
        assert!(!options.clean_session() && options.manual_acks());
        assert_eq!(options.max_packet_size(), 5_000);
        assert_eq!(network.connection_timeout(), 10);
        assert!(connecting.ignores_retained() && connecting.keeps_subscriptions());
        assert!(!connecting.filters()[0].wants_retained);
    }

    #[test]
    fn a_web_socket_has_a_whole_address() {
        let connecting = connecting(r#"{ "url": "ws://broker/mqtt", "topics": ["a"] }"#);
        let options = five(connecting.options().unwrap());
        assert_eq!(options.broker_address().0, "ws://broker:80/mqtt");
        assert!(matches!(options.transport(), Transport::Ws));
    }

    #[test]
    fn a_password_file_may_end_in_a_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for (content, expected) in [
            ("x y", "x y"),
            ("x y\n", "x y"),
            ("x\r\n", "x"),
            ("x\n\n", "x"),
        ] {
            std::fs::write(&path, content).unwrap();
            let mut connecting =
                connecting(r#"{ "url": "mqtt://b", "topics": ["a"], "username": "me" }"#);
            connecting.config.password_file = Some(path.display().to_string());
            let login = five(connecting.options().unwrap()).credentials().unwrap();
            assert_eq!(login.password, expected);
        }
    }
}
