//! Where an MQTT broker is: `mqtt://host:1883`, `mqtts://host:8883`.

use std::fmt;
use std::str::FromStr;

/// The address of an MQTT broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether TLS is spoken (`mqtts`).
    pub tls: bool,
    /// The host name or address; an IPv6 address in brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// Why a text is no broker address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// The form is another one.
    #[error("'{0}' is not a broker address; write mqtt://host:1883 or mqtts://host:8883")]
    Form(String),
    /// There is a user name in the address. The address itself is not repeated: a password may
    /// stand in it.
    #[error("the broker address holds a user name; write it as username and password instead")]
    Credentials,
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidEndpoint::Form(text.to_owned());
        if text.contains('@') {
            return Err(InvalidEndpoint::Credentials);
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(invalid)?;
        let (tls, default_port) = match scheme {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            _ => return Err(invalid()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let host_end = rest.rfind(']').map_or(0, |bracket| bracket + 1);
        let (host, port) = match rest.get(host_end..).unwrap_or_default().find(':') {
            Some(colon) => {
                let (host, port) = rest.split_at(host_end + colon);
                let port = port.strip_prefix(':').unwrap_or(port);
                (
                    host,
                    port.parse()
                        .ok()
                        .filter(|port| *port != 0)
                        .ok_or_else(invalid)?,
                )
            }
            None => (rest, default_port),
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
        if host.is_empty() || !host.chars().all(allowed) || tls && host.starts_with('[') {
            return Err(invalid());
        }
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_scheme_host_and_port() {
        for (text, tls, shown) in [
            ("mqtt://broker", false, "broker:1883"),
            (
                "mqtts://broker.example.com",
                true,
                "broker.example.com:8883",
            ),
            ("mqtt://127.0.0.1:11883/", false, "127.0.0.1:11883"),
            ("mqtt://[::1]:1884", false, "[::1]:1884"),
            ("mqtt://[::1]", false, "[::1]:1883"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(
                (endpoint.tls, endpoint.to_string().as_str()),
                (tls, shown),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "broker",
            "broker:1883",
            "tcp://broker",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://broker:0",
            "mqtt://broker:70000",
            "mqtt://broker:x",
            "mqtt://bro ker",
            "mqtt://broker/topic",
            "mqtts://[::1]:8883",
        ] {
            let expected = Err(InvalidEndpoint::Form(text.to_owned()));
            assert_eq!(text.parse::<Endpoint>(), expected, "{text}");
        }
        let refused = "mqtt://me:secret@broker".parse::<Endpoint>();
        assert_eq!(refused, Err(InvalidEndpoint::Credentials));
    }
}
