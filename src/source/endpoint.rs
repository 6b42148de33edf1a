//! Where an MQTT broker is: `mqtt://host:1883`, `mqtts://host:8883`, `wss://host/mqtt`.

use std::fmt;
use std::str::FromStr;

/// The address of an MQTT broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether TLS is spoken (`mqtts`, `wss`).
    pub tls: bool,
    /// The path of the request for a WebSocket (`ws`, `wss`), which begins with a slash; none where
    /// MQTT is spoken over TCP.
    pub path: Option<String>,
    /// The host name or address; an IPv6 address in brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// Why a text is no broker address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// The form is another one.
    #[error(
        "'{0}' is not a broker address; write mqtt://host:1883, mqtts://host:8883 or wss://host/mqtt"
    )]
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
        let (tls, is_web, default_port) = match scheme {
            "mqtt" => (false, false, 1883),
            "mqtts" => (true, false, 8883),
            "ws" => (false, true, 80),
            "wss" => (true, true, 443),
            _ => return Err(invalid()),
        };
        let (rest, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        let is_path = |path: &str| path.bytes().all(|byte| byte.is_ascii_graphic());
        let has_fragment = path.contains(['#', '\\', '"', '<', '>']);
        if !is_web && path != "/" || !is_path(path) || has_fragment {
            return Err(invalid());
        }
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
        if host.is_empty() || !host.chars().all(allowed) || (tls || is_web) && host.starts_with('[')
        {
            return Err(invalid());
        }
        Ok(Self {
            tls,
            path: is_web.then(|| path.to_owned()),
            host: host.to_owned(),
            port,
        })
    }
}

impl Endpoint {
    /// The address of the WebSocket, where it is one.
    pub fn web_address(&self) -> Option<String> {
        let path = self.path.as_ref()?;
        let scheme = if self.tls { "wss" } else { "ws" };
        Some(format!("{scheme}://{}:{}{path}", self.host, self.port))
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
    fn reads_the_address_of_a_web_socket() {
        for (text, shown, address) in [
            ("ws://broker", "broker:80", "ws://broker:80/"),
            (
                "ws://broker:8083/mqtt",
                "broker:8083",
                "ws://broker:8083/mqtt",
            ),
            (
                "wss://x-ats.iot.eu-west-1.amazonaws.com/mqtt?a=b",
                "x-ats.iot.eu-west-1.amazonaws.com:443",
                "wss://x-ats.iot.eu-west-1.amazonaws.com:443/mqtt?a=b",
            ),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(endpoint.web_address().as_deref(), Some(address));
        }
        let endpoint: Endpoint = "mqtt://broker/".parse().unwrap();
        assert_eq!(endpoint.web_address(), None);
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
            "ws://[::1]/mqtt",
            "ws://broker/a b",
            "ws://broker/a#b",
            "ws:///mqtt",
            "https://broker/mqtt",
        ] {
            let expected = Err(InvalidEndpoint::Form(text.to_owned()));
            assert_eq!(text.parse::<Endpoint>(), expected, "{text}");
        }
        let refused = "mqtt://me:secret@broker".parse::<Endpoint>();
        assert_eq!(refused, Err(InvalidEndpoint::Credentials));
    }
}
