//! MQTT at QoS 1, beside a loop over rumqttc that counts bytes and acknowledges.
//!
//! The broker keeps the messages for a session while nobody reads it, and sends them when it is back.
//! `source.mqtt` has them in its log, and on the disk, before it acknowledges them.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Client, Connection, Event, MqttOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Contest;
use super::count::{Count, Measured, cars, read_all};
use super::support::mosquitto::Mosquitto;

const TOPIC: &str = "fleet/cars";
const BARE: &str = "bare";
const OURS: &str = "ours";

struct Sessions {
    mosquitto: Mosquitto,
    records: u64,
    folder: TempDir,
}

/// Starts a broker and makes the sessions.
pub(crate) fn set_up(records: u64) -> Result<Box<dyn Contest>> {
    let sessions = Sessions {
        mosquitto: Mosquitto::start()?,
        records,
        folder: tempfile::tempdir()?,
    };
    for name in [BARE, OURS] {
        let (client, mut connection) = sessions.connect(name);
        client.subscribe(TOPIC, QoS::AtLeastOnce)?;
        await_packet(&mut connection, |packet| {
            matches!(packet, Packet::SubAck(_))
        })?;
        client.disconnect()?;
        while connection.recv().is_ok_and(|event| event.is_ok()) {}
    }
    Ok(Box::new(sessions))
}

/// Polls until there is such a packet.
fn await_packet(connection: &mut Connection, is_it: impl Fn(&Packet) -> bool) -> Result<()> {
    loop {
        if let Event::Incoming(packet) = next(connection)?
            && is_it(&packet)
        {
            return Ok(());
        }
    }
}

fn next(connection: &mut Connection) -> Result<Event> {
    match connection.recv() {
        Ok(event) => Ok(event?),
        Err(error) => bail!("the client has ended: {error:?}"),
    }
}

impl Sessions {
    fn options(&self, client: &str) -> MqttOptions {
        let mut options = MqttOptions::new(client, "127.0.0.1", self.mosquitto.port());
        options
            .set_clean_start(false)
            .set_session_expiry_interval(Some(3_600))
            .set_keep_alive(Duration::from_secs(60));
        options
    }

    fn connect(&self, client: &str) -> (Client, Connection) {
        Client::new(self.options(client), 10)
    }

    fn config(&self) -> Value {
        json!({ "mqtt": {
            "url": self.mosquitto.url(), "topics": [TOPIC], "client_id": OURS,
        } })
    }

    /// Sends all records, and waits until the broker has them.
    fn publish(&self) -> Result<()> {
        let (client, mut connection) = self.connect("cars");
        let cars = cars(self.records)?;
        let sender = thread::spawn(move || {
            for record in cars {
                client.publish(TOPIC, QoS::AtLeastOnce, false, record)?;
            }
            Ok::<_, anyhow::Error>(client)
        });
        for _ in 0..self.records {
            await_packet(&mut connection, |packet| {
                matches!(packet, Packet::PubAck(_))
            })?;
        }
        match sender.join() {
            Ok(client) => Ok(client?.disconnect()?),
            Err(_) => bail!("the sender has panicked"),
        }
    }

    /// Takes what waits in a session that is not measured.
    fn drain(&self, session: &str) -> Result<Measured> {
        let mut count = Count::begin();
        let (client, mut connection) = self.connect(session);
        while count.records() < self.records {
            if let Event::Incoming(Packet::Publish(message)) = next(&mut connection)? {
                count.add(1, message.payload.len());
            }
        }
        let measured = count.finish()?;
        // The last acknowledgements are sent before the farewell.
        client.disconnect()?;
        while connection.recv().is_ok_and(|event| event.is_ok()) {}
        Ok(measured)
    }
}

impl Contest for Sessions {
    fn bare_name(&self) -> &'static str {
        "a loop over rumqttc that counts bytes, and keeps nothing"
    }

    fn records(&self) -> u64 {
        self.records
    }

    fn bare(&mut self) -> Result<Measured> {
        // Both sessions get all of it; the other one is read by the source.
        self.publish()?;
        self.drain(BARE)
    }

    fn source(&mut self) -> Result<Measured> {
        let log = tempfile::tempdir_in(&self.folder).context("a folder for the log")?;
        read_all(self.config(), Some(log.path()), self.records, Count::begin)
    }
}
