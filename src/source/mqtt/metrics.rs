//! What the connections to brokers count.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::super::metrics::SourceMetrics;
use crate::telemetry::Registry;

/// The metrics of all brokers.
#[derive(Debug)]
pub(super) struct MqttMetrics {
    connected: IntGaugeVec,
    reconnects: IntCounterVec,
    sessions_lost: IntCounterVec,
    waiting_bytes: IntGaugeVec,
    /// How many brokers are connected.
    count: Arc<AtomicUsize>,
    brokers: usize,
}

/// The metrics of one broker.
#[derive(Debug, Clone)]
pub(super) struct BrokerMetrics {
    connected: IntGauge,
    reconnects: IntCounter,
    /// Connections at which the broker no longer had our session.
    pub(super) sessions_lost: IntCounter,
    /// Bytes received that wait to be logged or handed over.
    pub(super) waiting_bytes: IntGauge,
    count: Arc<AtomicUsize>,
    brokers: usize,
    source: SourceMetrics,
}

impl MqttMetrics {
    /// The metrics in a registry, of so many brokers.
    pub(super) fn new(registry: &Registry, brokers: usize) -> Self {
        Self {
            connected: registry.int_gauges(
                "weir_mqtt_connected",
                "Whether the MQTT broker is connected: 1 or 0.",
                &["broker"],
            ),
            reconnects: registry.counters(
                "weir_mqtt_reconnects_total",
                "How often the lost connection to the MQTT broker came back.",
                &["broker"],
            ),
            sessions_lost: registry.counters(
                "weir_mqtt_sessions_lost_total",
                "Connections at which the MQTT broker no longer had our session, nor the messages of it.",
                &["broker"],
            ),
            waiting_bytes: registry.int_gauges(
                "weir_mqtt_waiting_bytes",
                "Bytes received from the MQTT broker that wait to be logged or handed over.",
                &["broker"],
            ),
            count: Arc::default(),
            brokers,
        }
    }

    /// Those of one broker, by its name.
    pub(super) fn broker(&self, name: &str, source: &SourceMetrics) -> BrokerMetrics {
        BrokerMetrics {
            connected: self.connected.with_label_values(&[name]),
            reconnects: self.reconnects.with_label_values(&[name]),
            sessions_lost: self.sessions_lost.with_label_values(&[name]),
            waiting_bytes: self.waiting_bytes.with_label_values(&[name]),
            count: Arc::clone(&self.count),
            brokers: self.brokers,
            source: source.clone(),
        }
    }
}

impl BrokerMetrics {
    /// The connection is there; it may have been there before.
    pub(super) fn connected(&self, again: bool) {
        if again {
            self.reconnects.inc();
            self.source.reconnects.inc();
        }
        if self.connected.get() == 0 {
            self.connected.set(1);
            let others = self.count.fetch_add(1, Ordering::AcqRel);
            // The source is connected when all of its brokers are.
            self.source
                .connected
                .set(i64::from(others + 1 == self.brokers));
        }
    }

    /// The connection is not there.
    pub(super) fn disconnected(&self) {
        if self.connected.get() == 1 {
            self.connected.set(0);
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
        self.source.connected.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_connected_when_all_brokers_are() {
        let registry = Registry::new("test");
        let source = SourceMetrics::new(&registry);
        let all = MqttMetrics::new(&registry, 2);
        let (east, west) = (all.broker("east", &source), all.broker("west", &source));
        east.connected(false);
        assert_eq!(source.connected.get(), 0);
        west.connected(false);
        assert_eq!((source.connected.get(), source.reconnects.get()), (1, 0));
        east.disconnected();
        east.disconnected();
        assert_eq!((source.connected.get(), east.connected.get()), (0, 0));
        east.connected(true);
        assert_eq!((source.connected.get(), source.reconnects.get()), (1, 1));
        let text = Registry::text([&registry]);
        let line = "weir_mqtt_reconnects_total{broker=\"east\",pipeline=\"test\"} 1\n";
        assert!(text.contains(line), "{text}");
    }
}
