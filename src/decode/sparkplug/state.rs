//! What births have said, and how far the sequence of each node is; and the same as bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Corrupt, Decoder, Encoder};

/// The version of the format.
const VERSION: u8 = 1;

/// How many names a split may have: more births than any fleet's are a mistake or an attack.
const MAX_NAMES: usize = 4_000_000;

/// How many nodes and devices a split may have.
const MAX_SCOPES: usize = 1_000_000;

/// The metrics of a node or device by their aliases.
pub(super) type Aliases = BTreeMap<u64, Named>;

/// What a birth has said of a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: Box<str>,
    /// The number of its type.
    pub(super) datatype: u32,
}

/// What is known of the edge nodes of one split. Copies share what did not change since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SparkplugState {
    /// By `group/node`.
    nodes: BTreeMap<Arc<str>, Arc<Node>>,
    names: usize,
    scopes: usize,
}

/// An edge node that was born.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    /// The number of its last message.
    seq: Option<u64>,
    /// What its death will say.
    birth_death: Option<u64>,
    /// By devices; that of the node itself is empty.
    scopes: BTreeMap<Arc<str>, Arc<Aliases>>,
}

impl Node {
    fn names(&self) -> usize {
        self.scopes.values().map(|aliases| aliases.len()).sum()
    }
}

impl SparkplugState {
    pub(super) fn aliases(&self, node: &str, device: &str) -> Option<Arc<Aliases>> {
        self.nodes.get(node)?.scopes.get(device).cloned()
    }

    /// A node was born: of its devices nothing is known any more.
    pub(super) fn node_birth(
        &mut self,
        node: &str,
        seq: Option<u64>,
        birth_death: Option<u64>,
        aliases: Aliases,
    ) -> Result<(), String> {
        self.forget(node);
        self.check_room(aliases.len())?;
        self.names += aliases.len();
        self.scopes += 1;
        let born = Node {
            seq,
            birth_death,
            scopes: BTreeMap::from([("".into(), Arc::new(aliases))]),
        };
        self.nodes.insert(node.into(), Arc::new(born));
        Ok(())
    }

    /// A device was born.
    pub(super) fn device_birth(
        &mut self,
        node: &str,
        device: &str,
        aliases: Aliases,
    ) -> Result<(), String> {
        self.device_death(node, device);
        self.check_room(aliases.len())?;
        self.names += aliases.len();
        self.scopes += 1;
        let node = match self.nodes.get_mut(node) {
            Some(node) => node,
            // Its own birth was missed, which is no reason not to know the device.
            None => self.nodes.entry(node.into()).or_default(),
        };
        let scopes = &mut Arc::make_mut(node).scopes;
        scopes.insert(device.into(), Arc::new(aliases));
        Ok(())
    }

    fn check_room(&self, names: usize) -> Result<(), String> {
        if self.names + names > MAX_NAMES {
            return Err(format!("births have said more than {MAX_NAMES} names"));
        }
        if self.scopes == MAX_SCOPES {
            return Err(format!(
                "more than {MAX_SCOPES} nodes and devices were born"
            ));
        }
        Ok(())
    }

    /// A node has died, with all of its devices. A death that belongs to an earlier birth is late: the node
    /// lives.
    pub(super) fn node_death(&mut self, node: &str, birth_death: Option<u64>) {
        let known = self.nodes.get(node).and_then(|node| node.birth_death);
        if known.is_none() || birth_death.is_none() || known == birth_death {
            self.forget(node);
        }
    }

    /// A device has died.
    pub(super) fn device_death(&mut self, node: &str, device: &str) {
        let Some(node) = self.nodes.get_mut(node) else {
            return;
        };
        if !node.scopes.contains_key(device) {
            return;
        }
        if let Some(aliases) = Arc::make_mut(node).scopes.remove(device) {
            self.names -= aliases.len();
            self.scopes -= 1;
        }
    }

    fn forget(&mut self, node: &str) {
        if let Some(node) = self.nodes.remove(node) {
            self.names -= node.names();
            self.scopes -= node.scopes.len();
        }
    }

    /// Takes the number of a node's message. Gives whether messages are missing before it.
    pub(super) fn is_gap(&mut self, node: &str, seq: u64) -> bool {
        let Some(node) = self.nodes.get_mut(node) else {
            return false;
        };
        let before = Arc::make_mut(node).seq.replace(seq);
        // Numbers go from 0 to 255 and begin again.
        before.is_some_and(|before| before.wrapping_add(1) % 256 != seq)
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.u8(VERSION);
        out.count(self.nodes.len());
        for (key, node) in &self.nodes {
            out.text(key);
            out.option(node.seq, Encoder::u64);
            out.option(node.birth_death, Encoder::u64);
            out.count(node.scopes.len());
            for (device, aliases) in &node.scopes {
                out.text(device);
                out.count(aliases.len());
                for (alias, named) in &**aliases {
                    out.u64(*alias);
                    out.u32(named.datatype);
                    out.text(&named.name);
                }
            }
        }
        out.into_bytes()
    }

    /// Reads what [`encode`](Self::encode) has written.
    ///
    /// # Errors
    /// The bytes are no such state, or one of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut from = Decoder::new(bytes);
        let version = from.u8()?;
        if version != VERSION {
            let reason = format!("a format of {version}; this version reads {VERSION}");
            return Err(from.corrupt(reason));
        }
        let mut state = Self::default();
        for _ in 0..from.count(1)? {
            let key: Arc<str> = from.text()?.into();
            let mut node = Node {
                seq: from.option(Decoder::u64)?,
                birth_death: from.option(Decoder::u64)?,
                scopes: BTreeMap::new(),
            };
            for _ in 0..from.count(1)? {
                let device: Arc<str> = from.text()?.into();
                let mut aliases = Aliases::new();
                for _ in 0..from.count(1)? {
                    let alias = from.u64()?;
                    let datatype = from.u32()?;
                    let name = from.text()?.into();
                    if aliases.insert(alias, Named { name, datatype }).is_some() {
                        return Err(from.corrupt(format!("alias {alias} of {key} is there twice")));
                    }
                }
                state.names += aliases.len();
                state.scopes += 1;
                if node.scopes.insert(device, Arc::new(aliases)).is_some() {
                    return Err(from.corrupt(format!("a device of {key} is there twice")));
                }
            }
            if let Some(twice) = state.nodes.insert(key.clone(), Arc::new(node)) {
                let devices = twice.scopes.len();
                return Err(from.corrupt(format!(
                    "node {key}, with {devices} devices, is there twice"
                )));
            }
        }
        from.end()?;
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[(u64, &str)]) -> Aliases {
        let names = names.iter();
        names
            .map(|(alias, name)| {
                let name = (*name).into();
                (*alias, Named { name, datatype: 9 })
            })
            .collect()
    }

    fn some_state() -> SparkplugState {
        let mut state = SparkplugState::default();
        let aliases = named(&[(1, "rpm"), (2, "temp")]);
        state.node_birth("g/n", Some(0), Some(7), aliases).unwrap();
        state
            .device_birth("g/n", "d", named(&[(1, "rpm")]))
            .unwrap();
        state.device_birth("g/m", "e", named(&[])).unwrap();
        state
    }

    #[test]
    fn is_read_as_it_was_written_and_no_cut_or_other_byte_is_taken_for_one() {
        let state = some_state();
        let bytes = state.encode();
        assert_eq!(SparkplugState::decode(&bytes), Ok(state.clone()));
        for end in 0..bytes.len() {
            assert!(SparkplugState::decode(&bytes[..end]).is_err(), "{end}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_ne!(SparkplugState::decode(&flipped), Ok(state.clone()), "{at}");
        }
        let newer = [&[2], &bytes[1..]].concat();
        assert_eq!(
            SparkplugState::decode(&newer).unwrap_err().to_string(),
            "byte 1: a format of 2; this version reads 1"
        );
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(
            SparkplugState::decode(&longer).unwrap_err().reason,
            "1 bytes too many"
        );
    }

    #[test]
    fn the_last_birth_counts_and_deaths_clear() {
        let mut state = some_state();
        assert_eq!((state.names, state.scopes), (3, 3));
        let name = |state: &SparkplugState, node: &str, device: &str| {
            let aliases = state.aliases(node, device)?;
            Some(aliases.get(&1)?.name.to_string())
        };
        assert_eq!(name(&state, "g/n", "d").as_deref(), Some("rpm"));
        state.device_death("g/n", "d");
        assert_eq!(name(&state, "g/n", "d"), None);
        assert_eq!(name(&state, "g/n", "").as_deref(), Some("rpm"));
        state.device_birth("g/n", "d", named(&[(1, "x")])).unwrap();
        assert_eq!(name(&state, "g/n", "d").as_deref(), Some("x"));
        state.node_death("g/n", Some(6));
        assert_eq!(name(&state, "g/n", "").as_deref(), Some("rpm"), "late");
        state
            .node_birth("g/n", Some(0), Some(8), named(&[]))
            .unwrap();
        assert_eq!(name(&state, "g/n", "d"), None, "it is to be born again");
        state.node_death("g/n", Some(8));
        state.node_death("g/m", None);
        assert_eq!(state, SparkplugState::default());
    }

    #[test]
    fn gaps_are_seen_also_where_numbers_begin_again() {
        let mut state = some_state();
        let gaps = [1, 2, 4, 5, 255, 0, 1, 1].map(|seq| state.is_gap("g/n", seq));
        assert_eq!(gaps, [false, false, true, false, true, false, false, true]);
        assert!(!state.is_gap("g/unborn", 9));
    }
}
