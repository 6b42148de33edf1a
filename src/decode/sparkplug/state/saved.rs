//! What is known of nodes as bytes: what births have said, a part for each group of nodes, and the numbers of
//! messages of all nodes.

use std::sync::Arc;

use super::names::Named;
use super::{Names, Node, Said, Scope, SparkplugState};
use crate::model::{Corrupt, Decoder, Encoder};

/// The version of what births have said.
const BIRTHS: u8 = 3;

/// That before, which had the numbers of messages with the births once, and only metrics with aliases.
const BIRTHS_ONCE: u8 = 1;

/// The version of the numbers of messages.
const SEQUENCES: u8 = 2;

/// What births have said of some nodes, for a checkpoint.
#[derive(Debug)]
pub struct Births<'s> {
    /// The number of the group of nodes.
    pub group: usize,
    /// Equal numbers are the same content, within one process.
    pub piece: u64,
    nodes: &'s [Arc<Node>],
}

impl SparkplugState {
    /// What births have said, by groups of nodes. Each of them changes only with a birth or death.
    pub fn births(&self) -> impl Iterator<Item = Births<'_>> {
        let groups = self.groups.iter().enumerate();
        let groups = groups.filter(|(_, group)| !group.nodes.is_empty());
        groups.map(|(number, group)| Births {
            group: number,
            piece: group.piece,
            nodes: &group.nodes,
        })
    }

    /// The numbers of messages as bytes; they change with every message.
    pub fn encode_sequences(&self) -> Vec<u8> {
        let all = || {
            let groups = self.groups.iter();
            let nodes = groups.flat_map(|group| group.nodes.iter().zip(&group.sequences));
            nodes.filter_map(|(node, seq)| Some((&node.name, (*seq)?)))
        };
        let mut out = Encoder::new();
        out.u8(SEQUENCES);
        out.count(all().count());
        for (node, seq) in all() {
            out.text(node);
            out.u64(seq);
        }
        out.into_bytes()
    }

    /// Adds what [`Births::encode`] or [`encode_sequences`](Self::encode_sequences) has written, the births
    /// before the sequences.
    ///
    /// # Errors
    /// The bytes are no such state, or one of another version.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), Corrupt> {
        let mut from = Decoder::new(bytes);
        match from.u8()? {
            version @ (BIRTHS | BIRTHS_ONCE) => self.read_births(&mut from, version)?,
            SEQUENCES => {
                for _ in 0..from.count(1)? {
                    let node = from.text()?;
                    let seq = from.u64()?;
                    if self.node(node).is_none() {
                        return Err(from.corrupt(format!("node {node} was not born")));
                    }
                    if self.set_sequence(node, Some(seq)).is_some() {
                        return Err(from.corrupt(format!("node {node} is there twice")));
                    }
                }
            }
            other => {
                let reason = format!(
                    "a format of {other}; this version reads {BIRTHS_ONCE}, {SEQUENCES} and {BIRTHS}"
                );
                return Err(from.corrupt(reason));
            }
        }
        from.end()
    }

    fn read_births(&mut self, from: &mut Decoder<'_>, version: u8) -> Result<(), Corrupt> {
        for _ in 0..from.count(1)? {
            let mut node = Node::new(from.text()?);
            let name = node.name.clone();
            if self.node(&name).is_some() {
                return Err(from.corrupt(format!("node {name} is there twice")));
            }
            let seq = match version {
                BIRTHS_ONCE => from.option(Decoder::u64)?,
                _ => None,
            };
            node.birth_death = from.option(Decoder::u64)?;
            for _ in 0..from.count(1)? {
                let device: Box<str> = from.text()?.into();
                if node.scopes.contains_key(&*device) {
                    return Err(from.corrupt(format!("a device of {name} is there twice")));
                }
                let names = read_names(from, version, &name)?;
                node.set(&device, Some(Scope::new(&device, names)));
            }
            self.change(&name, |known| *known = node);
            self.set_sequence(&name, seq);
        }
        Ok(())
    }
}

/// The metrics of a device of a node.
fn read_names(from: &mut Decoder<'_>, version: u8, node: &str) -> Result<Names, Corrupt> {
    if version == BIRTHS_ONCE {
        let mut said = Said::default();
        for _ in 0..from.count(1)? {
            let (alias, datatype) = (from.u64()?, from.u32()?);
            if said
                .add(from.text()?, Some(alias), Some(datatype))
                .is_some()
            {
                return Err(from.corrupt(format!("alias {alias} of {node} is there twice")));
            }
        }
        return Ok(said.names());
    }
    let mut metrics = Vec::new();
    for _ in 0..from.count(1)? {
        let name = from.text()?.into();
        let datatype = from.u32()?;
        metrics.push(Named { name, datatype });
    }
    let mut aliases = Vec::new();
    for _ in 0..from.count(1)? {
        aliases.push((from.u64()?, from.u32()?));
    }
    Names::of(metrics, aliases).map_err(|what| from.corrupt(format!("births of {node}: {what}")))
}

impl Births<'_> {
    /// Their bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.u8(BIRTHS);
        out.count(self.nodes.len());
        for node in self.nodes {
            out.text(&node.name);
            out.option(node.birth_death, Encoder::u64);
            out.count(node.scopes.len());
            for (device, scope) in &node.scopes {
                out.text(device);
                out.count(scope.names.metrics().len());
                for metric in scope.names.metrics() {
                    out.text(&metric.name);
                    out.u32(metric.datatype);
                }
                out.count(scope.names.aliases().len());
                for (alias, metric) in scope.names.aliases() {
                    out.u64(*alias);
                    out.u32(*metric);
                }
            }
        }
        out.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{named, some_state};
    use super::*;

    /// The same, read from its bytes.
    fn read(state: &SparkplugState) -> SparkplugState {
        let mut read = SparkplugState::default();
        for births in state.births() {
            read.read(&births.encode()).unwrap();
        }
        read.read(&state.encode_sequences()).unwrap();
        read
    }

    #[test]
    fn is_read_as_it_was_written_and_no_cut_or_other_byte_is_taken_for_one() {
        let state = some_state();
        assert_eq!(read(&state), state);
        assert_eq!(read(&state).bytes, state.bytes);
        let births: Vec<_> = state.births().map(|births| births.encode()).collect();
        let sequences = state.encode_sequences();
        for part in births.iter().chain([&sequences]) {
            let alone = |bytes: &[u8]| {
                let mut read = SparkplugState::default();
                for whole in births.iter().filter(|_| *part == sequences) {
                    read.read(whole).unwrap();
                }
                read.read(bytes).map(|()| read)
            };
            let whole = alone(part).unwrap();
            for end in 0..part.len() {
                assert!(alone(&part[..end]).is_err(), "{end}");
            }
            for at in 0..part.len() {
                let mut flipped = part.clone();
                flipped[at] ^= 1;
                assert_ne!(alone(&flipped), Ok(whole.clone()), "{at}");
            }
            let longer = [&part[..], &[0]].concat();
            let error = alone(&longer).unwrap_err();
            assert_eq!(error.reason, "1 bytes too many");
            let newer = [&[4], &part[1..]].concat();
            assert_eq!(
                alone(&newer).unwrap_err().to_string(),
                "byte 1: a format of 4; this version reads 1, 2 and 3"
            );
        }
        assert!(SparkplugState::default().read(&sequences).is_err());
    }

    #[test]
    fn reads_what_was_written_when_all_was_one_part() {
        let mut out = Encoder::new();
        out.u8(1);
        out.count(2);
        for (node, device) in [("g/m", "e"), ("g/n", "")] {
            out.text(node);
            out.option(Some(5).filter(|_| device.is_empty()), Encoder::u64);
            out.option(Some(7).filter(|_| device.is_empty()), Encoder::u64);
            out.count(1);
            out.text(device);
            out.count(1);
            out.u64(1);
            out.u32(9);
            out.text("rpm");
        }
        let mut state = SparkplugState::default();
        state.read(&out.into_bytes()).unwrap();
        let mut expected = SparkplugState::default();
        let rpm = || named(&[(1, "rpm")]);
        expected.node_birth("g/n", Some(5), Some(7), rpm()).unwrap();
        expected.device_birth("g/m", "e", rpm()).unwrap();
        assert_eq!(state, expected);
        assert_eq!(state.bytes, expected.bytes);
    }
}
