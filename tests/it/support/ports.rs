//! Free ports on the loopback address.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context as _, Result};

/// How often a server is started on other ports when another process was quicker to take them.
const ATTEMPTS: usize = 3;

/// Calls `start` with `N` free ports. A port can be taken between our look and the server's start,
/// so a start that fails because the address is in use is tried again.
///
/// # Errors
/// What `start` reports.
pub(crate) fn on_free_ports<const N: usize, T>(
    mut start: impl FnMut([u16; N]) -> Result<T>,
) -> Result<T> {
    for _ in 1..ATTEMPTS {
        match start(free_ports()?) {
            Err(error) if is_address_in_use(&error) => {}
            other => return other,
        }
    }
    start(free_ports()?)
}

/// Whether a server accepts connections there.
#[cfg(any(feature = "kafka", feature = "kinesis", feature = "mqtt"))]
pub(crate) fn accepts(port: u16) -> bool {
    std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn free_ports<const N: usize>() -> Result<[u16; N]> {
    // All are held until all are found, so that they differ.
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

fn is_address_in_use(error: &anyhow::Error) -> bool {
    format!("{error:#}")
        .to_lowercase()
        .contains("address already in use")
}
