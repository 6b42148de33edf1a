//! Free ports on the loopback address.

use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, anyhow};

/// How often a server is started on other ports when another process was quicker to take them.
const ATTEMPTS: usize = 3;
/// The ports that servers get. They lie below those that the system gives to outgoing connections (from
/// 32,768 on), one of which could take the port of a server that is down for a moment.
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;

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
    let mut ports = [0; N];
    for port in &mut ports {
        *port = free_port()?;
    }
    Ok(ports)
}

/// A port that nobody listens at and that this program has not given to a server before.
fn free_port() -> Result<u16> {
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    // Programs that run at the same time begin at different places.
    let next = NEXT.get_or_init(|| AtomicU32::new(process::id().wrapping_mul(101) % COUNT));
    (0..COUNT)
        .filter_map(|_| u16::try_from(FIRST + next.fetch_add(1, Ordering::Relaxed) % COUNT).ok())
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or_else(|| anyhow!("no free port on 127.0.0.1"))
}

fn is_address_in_use(error: &anyhow::Error) -> bool {
    format!("{error:#}")
        .to_lowercase()
        .contains("address already in use")
}
