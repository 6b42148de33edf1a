//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use weirgen::{FleetConfig, Target};

use crate::duration::parse_millis;

const EXAMPLES: &str = "\
Examples:
  Ten events on the terminal:
    weirgen --events 10 -

  A minute of 100,000 vehicles as a file, and the models of the vehicles:
    weirgen --seconds 60 --start-ms 1730621749000 --reference vehicles.csv ndjson:events.ndjson

  Load for a Kafka topic, 300,000 events a second, until Ctrl-C:
    weirgen --rate 300000 kafka://127.0.0.1:9092/vehicle-events

  As many events as Kafka takes, ten million in all:
    weirgen --max-speed --events 10000000 kafka://127.0.0.1:9092/vehicle-events

  Out of order by up to 2 s, and one event in a hundred 30 s late:
    weirgen --disorder 2s --late-share 0.01 --late-by 30s kafka://127.0.0.1:9092/vehicle-events

  A topic for each vehicle:
    weirgen --vehicles 1000 'mqtt://127.0.0.1:1883/fleet/{region}/{vehicle}/{kind}'

The same options make the same events, byte for byte, if --start-ms is given. Events to Kafka and
MQTT are sent when their time has come; files are written as fast as possible unless --rate is
given. Whoever falls behind the schedule catches up, and is told at the end by how much.";

/// Make the events of a fleet of connected cars.
///
/// Every vehicle sends the speed of its engine (IC_RPM), of its motor (ELECTRIC_RPM) and the number
/// of its warning lights (WARNINGS) about once a second, as JSON:
///
/// {"eventType":"IC_RPM","vehicleId":"V0000012345","region":"UK","timestamp":1730621749000,"measurement":1356}
#[derive(Debug, Clone, Parser)]
#[command(name = "weirgen", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Args {
    /// Where the events go: -, ndjson:PATH, kafka://HOST:PORT/TOPIC or mqtt://HOST:PORT/TOPIC
    ///
    /// The key of a Kafka message is the vehicle's id; the topic must exist. An MQTT topic can
    /// contain {region}, {vehicle} and {kind}; messages are sent with QoS 1.
    #[arg(value_name = "TARGET", required_unless_present = "reference")]
    pub(crate) target: Option<Target>,

    /// How many vehicles there are
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) vehicles: u32,

    /// Events a second of the whole fleet [default: 3 a vehicle]
    #[arg(long, value_name = "EVENTS_PER_S")]
    pub(crate) rate: Option<u64>,

    /// End after so many seconds of event time
    #[arg(long, value_name = "N", conflicts_with = "events")]
    pub(crate) seconds: Option<u64>,

    /// End after so many events
    #[arg(long, value_name = "N")]
    pub(crate) events: Option<u64>,

    /// Another seed makes other events
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// The time of the first event: "now" or milliseconds since the epoch
    #[arg(long, value_name = "MS", default_value = "now")]
    pub(crate) start_ms: Start,

    /// Send events out of order, each up to so long after its time
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_millis)]
    pub(crate) disorder: u64,

    /// The share of events that are held back by --late-by, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub(crate) late_share: f64,

    /// How long late events are held back
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_millis)]
    pub(crate) late_by: u64,

    /// How probable it is that a reading finds the vehicle started or stopped, 0 to 1
    #[arg(long, value_name = "P", default_value_t = 0.01)]
    pub(crate) move_probability: f64,

    /// How probable it is that a reading finds another number of warning lights, 0 to 1
    #[arg(long, value_name = "P", default_value_t = 0.001)]
    pub(crate) warning_probability: f64,

    /// Send as fast as the target takes events; their times still follow the rate
    #[arg(long)]
    pub(crate) max_speed: bool,

    /// Write the models of the vehicles to this file, as CSV
    #[arg(long, value_name = "FILE.csv")]
    pub(crate) reference: Option<PathBuf>,
}

/// When the first event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Now,
    /// Milliseconds since the epoch.
    At(u64),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "now" {
            return Ok(Self::Now);
        }
        match text.parse() {
            Ok(millis) => Ok(Self::At(millis)),
            Err(_) => Err(format!(
                "'{text}' is not a start; write now, or milliseconds such as 1730621749000"
            )),
        }
    }
}

impl Args {
    /// The fleet that is asked for.
    pub(crate) fn fleet(&self, now_ms: u64) -> FleetConfig {
        let mut fleet = FleetConfig::new(self.vehicles);
        if let Some(rate) = self.rate {
            fleet.events_per_second = rate;
        }
        fleet.start_ms = match self.start_ms {
            Start::Now => now_ms,
            Start::At(millis) => millis,
        };
        fleet.seed = self.seed;
        fleet.disorder_ms = self.disorder;
        fleet.late_share = self.late_share;
        fleet.late_by_ms = self.late_by;
        fleet.move_probability = self.move_probability;
        fleet.warning_probability = self.warning_probability;
        fleet
    }

    /// Whether events to this target wait for their time.
    pub(crate) fn is_paced(&self, target: &Target) -> bool {
        if self.max_speed {
            return false;
        }
        match target {
            Target::Kafka { .. } | Target::Mqtt { .. } => true,
            Target::Stdout | Target::File(_) => self.rate.is_some(),
        }
    }

    /// Whether this would fill the disk: a file, as fast as possible, without an end.
    pub(crate) fn is_endless_file(&self, target: &Target) -> bool {
        let endless = self.seconds.is_none() && self.events.is_none();
        endless && matches!(target, Target::File(_)) && !self.is_paced(target)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Args {
        Args::try_parse_from(line.split(' ')).unwrap()
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn options_reach_the_fleet() {
        let args = parse(
            "weirgen --vehicles 10 --rate 7 --seed 3 --start-ms 99 --disorder 2s --late-share 0.5 \
             --late-by 1m --move-probability 0.2 --warning-probability 0.3 -",
        );
        let expected = FleetConfig {
            vehicles: 10,
            seed: 3,
            start_ms: 99,
            events_per_second: 7,
            move_probability: 0.2,
            warning_probability: 0.3,
            disorder_ms: 2_000,
            late_share: 0.5,
            late_by_ms: 60_000,
            shard: 0,
            shards: 1,
        };
        assert_eq!(args.fleet(5), expected);
        assert_eq!(parse("weirgen -").fleet(5).start_ms, 5);
        assert_eq!(parse("weirgen -").fleet(5).events_per_second, 300_000);
    }

    #[test]
    fn files_are_paced_only_with_a_rate() {
        let cases = [
            ("weirgen ndjson:f", false),
            ("weirgen --rate 5 ndjson:f", true),
            ("weirgen -", false),
            ("weirgen --rate 5 -", true),
            ("weirgen kafka://h/t", true),
            ("weirgen mqtt://h/t", true),
            ("weirgen --rate 5 --max-speed kafka://h/t", false),
        ];
        for (line, paced) in cases {
            let args = parse(line);
            assert_eq!(
                args.is_paced(args.target.as_ref().unwrap()),
                paced,
                "{line}"
            );
        }
    }

    #[test]
    fn only_a_file_can_be_endless() {
        let cases = [
            ("weirgen ndjson:f", true),
            ("weirgen --seconds 5 ndjson:f", false),
            ("weirgen --events 5 ndjson:f", false),
            ("weirgen --rate 5 ndjson:f", false),
            ("weirgen -", false),
        ];
        for (line, endless) in cases {
            let args = parse(line);
            assert_eq!(
                args.is_endless_file(args.target.as_ref().unwrap()),
                endless,
                "{line}"
            );
        }
    }
}
