//! What births have said, and how far the sequence of each node is.
//!
//! Nodes are in groups by a hash of their names. What births have said changes seldom, and numbers of messages
//! with every message: so a copy shares all groups that did not change since, and a checkpoint is told which of
//! them it has already.

mod names;
mod saved;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::hash::StableHash;

pub(super) use names::{Names, Said};

pub use saved::Births;

/// How many groups there are.
const GROUPS: u64 = 256;

/// How much memory the names of a split may take, bytes: births of more than any fleet's are a mistake or an
/// attack.
const MAX_BYTES: usize = 512 << 20;

/// What a node, a device or a metric takes beyond its name, bytes.
const OVERHEAD: usize = 64;

/// What is known of the edge nodes of one split. Copies share what did not change since.
#[derive(Debug, Clone)]
pub struct SparkplugState {
    groups: Vec<Arc<Group>>,
    /// How much memory the names take.
    bytes: usize,
}

/// Some of the nodes.
#[derive(Debug, Clone, Default)]
struct Group {
    /// Equal numbers are the same nodes, within one process.
    piece: u64,
    /// In the order of their names.
    nodes: Arc<Vec<Arc<Node>>>,
    /// The number of the last message of each of them.
    sequences: Vec<Option<u64>>,
}

/// An edge node that was born, or of which a device was.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    /// `group/node`.
    name: Box<str>,
    /// What its death will say.
    birth_death: Option<u64>,
    /// By devices; that of the node itself is empty.
    scopes: BTreeMap<Arc<str>, Scope>,
    /// How much memory it takes, with its devices.
    bytes: usize,
}

/// What the birth of a node or device has said.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Scope {
    names: Arc<Names>,
    /// How much memory they take.
    bytes: usize,
}

impl Scope {
    fn new(device: &str, names: Names) -> Self {
        Self {
            bytes: OVERHEAD + device.len() + names.bytes(),
            names: Arc::new(names),
        }
    }
}

impl Node {
    /// One of which nothing is known yet.
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            birth_death: None,
            scopes: BTreeMap::new(),
            bytes: OVERHEAD + name.len(),
        }
    }

    /// A device was born, or has died.
    fn set(&mut self, device: &str, scope: Option<Scope>) {
        let before = match scope {
            Some(scope) => {
                self.bytes += scope.bytes;
                self.scopes.insert(device.into(), scope)
            }
            None => self.scopes.remove(device),
        };
        self.bytes -= before.map_or(0, |before| before.bytes);
    }
}

impl Group {
    /// Where a node is, or would be.
    fn place(&self, node: &str) -> Result<usize, usize> {
        self.nodes.binary_search_by(|known| (*known.name).cmp(node))
    }
}

impl Default for SparkplugState {
    fn default() -> Self {
        let empty = Arc::<Group>::default();
        Self {
            groups: (0..GROUPS).map(|_| empty.clone()).collect(),
            bytes: 0,
        }
    }
}

/// Numbers of pieces do not matter.
impl PartialEq for SparkplugState {
    fn eq(&self, other: &Self) -> bool {
        let mut groups = self.groups.iter().zip(&other.groups);
        groups.all(|(one, other)| one.nodes == other.nodes && one.sequences == other.sequences)
    }
}

impl Eq for SparkplugState {}

impl SparkplugState {
    fn group_of(node: &str) -> usize {
        let hash = StableHash::default().text(node).finish();
        usize::try_from(hash % GROUPS).unwrap_or_default()
    }

    fn node(&self, node: &str) -> Option<&Arc<Node>> {
        let group = self.groups.get(Self::group_of(node))?;
        group.nodes.get(group.place(node).ok()?)
    }

    /// Changes what is known of a node, in its place: it may have many devices. One of which nothing is known
    /// any more goes.
    fn change(&mut self, name: &str, change: impl FnOnce(&mut Node)) {
        let Some(group) = self.groups.get_mut(Self::group_of(name)) else {
            return;
        };
        let group = Arc::make_mut(group);
        group.piece = new_piece();
        let known = group.place(name);
        let nodes = Arc::make_mut(&mut group.nodes);
        let (Ok(place) | Err(place)) = known;
        if known.is_err() {
            let node = Node::new(name);
            self.bytes += node.bytes;
            nodes.insert(place, Arc::new(node));
            group.sequences.insert(place, None);
        }
        let Some(node) = nodes.get_mut(place).map(Arc::make_mut) else {
            return;
        };
        self.bytes -= node.bytes;
        change(node);
        if node.scopes.is_empty() {
            nodes.remove(place);
            group.sequences.remove(place);
        } else {
            self.bytes += node.bytes;
        }
    }

    fn forget(&mut self, node: &str) {
        if self.node(node).is_some() {
            self.change(node, |known| *known = Node::new(node));
        }
    }

    pub(super) fn names(&self, node: &str, device: &str) -> Option<Arc<Names>> {
        Some(self.node(node)?.scopes.get(device)?.names.clone())
    }

    /// A node was born: of its devices nothing is known any more.
    pub(super) fn node_birth(
        &mut self,
        node: &str,
        seq: Option<u64>,
        birth_death: Option<u64>,
        names: Names,
    ) -> Result<(), String> {
        self.forget(node);
        let scope = Scope::new("", names);
        self.check_room(Node::new(node).bytes + scope.bytes)?;
        self.change(node, |born| {
            born.birth_death = birth_death;
            born.set("", Some(scope));
        });
        self.set_sequence(node, seq);
        Ok(())
    }

    /// A device was born. That the birth of its node was missed is no reason not to know it.
    pub(super) fn device_birth(
        &mut self,
        node: &str,
        device: &str,
        names: Names,
    ) -> Result<(), String> {
        let scope = Scope::new(device, names);
        let (before, more) = match self.node(node) {
            Some(known) => (known.scopes.get(device).map_or(0, |scope| scope.bytes), 0),
            None => (0, Node::new(node).bytes),
        };
        let has_room = self.check_room((scope.bytes + more).saturating_sub(before));
        match has_room {
            Ok(()) => self.change(node, |known| known.set(device, Some(scope))),
            // What the birth before has said holds no more.
            Err(_) => self.device_death(node, device),
        }
        has_room
    }

    fn check_room(&self, bytes: usize) -> Result<(), String> {
        if self.bytes.saturating_add(bytes) > MAX_BYTES {
            let mib = MAX_BYTES >> 20;
            return Err(format!("what births have said takes more than {mib} MiB"));
        }
        Ok(())
    }

    /// A node has died, with all of its devices. A death that belongs to an earlier birth is late: the node
    /// lives. One that belongs to a later birth says that this one was missed.
    pub(super) fn node_death(&mut self, node: &str, birth_death: Option<u64>) {
        let known = self.node(node).and_then(|node| node.birth_death);
        // Numbers go from 0 to 255 and begin again, so the nearer way round counts.
        let ago = known
            .zip(birth_death)
            .map(|(known, death)| known.wrapping_sub(death) % 256);
        if !ago.is_some_and(|ago| (1..128).contains(&ago)) {
            self.forget(node);
        }
    }

    /// A device has died. Where its node was not born, and has no other device, nothing is known of the node
    /// any more.
    pub(super) fn device_death(&mut self, node: &str, device: &str) {
        let has_device = |node: &Arc<Node>| node.scopes.contains_key(device);
        if self.node(node).is_some_and(has_device) {
            self.change(node, |known| known.set(device, None));
        }
    }

    /// Takes the number of a node's message. Gives whether messages are missing before it.
    pub(super) fn is_gap(&mut self, node: &str, seq: u64) -> bool {
        let before = self.set_sequence(node, Some(seq));
        // Numbers go from 0 to 255 and begin again.
        before.is_some_and(|before| before.wrapping_add(1) % 256 != seq)
    }

    /// The number of a node's message is not known: nothing is missing before the next.
    pub(super) fn forget_sequence(&mut self, node: &str) {
        self.set_sequence(node, None);
    }

    /// Sets the number of the last message of a node, and gives the one before.
    fn set_sequence(&mut self, node: &str, seq: Option<u64>) -> Option<u64> {
        let group = self.groups.get_mut(Self::group_of(node))?;
        let place = group.place(node).ok()?;
        let sequence = Arc::make_mut(group).sequences.get_mut(place)?;
        std::mem::replace(sequence, seq)
    }
}

/// Numbers of pieces reach no state: stores only tell by them what they have already.
fn new_piece() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn named(names: &[(u64, &str)]) -> Names {
        let mut said = Said::default();
        for (alias, name) in names {
            said.add(name, Some(*alias), Some(9));
        }
        said.names()
    }

    pub(super) fn some_state() -> SparkplugState {
        let mut state = SparkplugState::default();
        let mut said = Said::default();
        for (name, alias) in [("temp", Some(2)), ("rpm", Some(1)), ("oil", None)] {
            said.add(name, alias, Some(3));
        }
        state
            .node_birth("g/n", Some(0), Some(7), said.names())
            .unwrap();
        state
            .device_birth("g/n", "d", named(&[(1, "rpm")]))
            .unwrap();
        state.device_birth("g/m", "e", named(&[])).unwrap();
        state
    }

    #[test]
    fn only_groups_of_what_was_born_or_has_died_are_other_pieces() {
        let mut state = SparkplugState::default();
        for number in 0..1_000 {
            let name = format!("g/{number}");
            state
                .node_birth(&name, Some(0), None, named(&[(1, "rpm")]))
                .unwrap();
        }
        let pieces = |state: &SparkplugState| -> BTreeMap<usize, u64> {
            state
                .births()
                .map(|births| (births.group, births.piece))
                .collect()
        };
        let (before, copy) = (pieces(&state), state.clone());
        assert!(before.len() > 200, "{before:?}");
        for number in 0..1_000 {
            assert!(!state.is_gap(&format!("g/{number}"), 1));
        }
        assert_eq!(pieces(&state), before);
        let shares = state.groups.iter().zip(&copy.groups);
        assert!(
            shares
                .clone()
                .all(|(one, other)| Arc::ptr_eq(&one.nodes, &other.nodes))
        );
        state.device_birth("g/7", "d", named(&[])).unwrap();
        let changed = pieces(&state)
            .into_iter()
            .filter(|piece| before.get(&piece.0) != Some(&piece.1));
        assert_eq!(changed.count(), 1);
        assert_eq!(pieces(&copy), before, "a copy is as it was");
    }

    #[test]
    fn births_and_deaths_of_devices_change_their_node_in_its_place() {
        let mut state = some_state();
        let place = Arc::as_ptr(state.node("g/n").unwrap());
        for number in 0..100 {
            let device = format!("d{}", number % 60);
            state
                .device_birth("g/n", &device, named(&[(number, "rpm")]))
                .unwrap();
            state.device_death("g/n", &format!("d{}", number % 7));
        }
        let node = state.node("g/n").unwrap();
        assert_eq!(Arc::as_ptr(node), place);
        let scopes: usize = node.scopes.values().map(|scope| scope.bytes).sum();
        assert_eq!(node.bytes, OVERHEAD + "g/n".len() + scopes);
        let nodes = ["g/n", "g/m"].map(|name| state.node(name).unwrap().bytes);
        assert_eq!(state.bytes, nodes.iter().sum::<usize>());
    }

    #[test]
    fn births_take_only_so_much_memory_and_nothing_is_kept_of_what_has_died() {
        let mut state = some_state();
        let bytes = state.bytes;
        for number in 0..100 {
            let node = format!("g/{number}");
            state
                .device_birth(&node, "d", named(&[(1, "rpm")]))
                .unwrap();
            state
                .device_birth(&node, "d", named(&[(2, "temperature")]))
                .unwrap();
            state.device_death(&node, "d");
        }
        assert_eq!(state, some_state());
        assert_eq!(state.bytes, bytes);
        // As if there were others.
        let long = "x".repeat(5_000);
        state.bytes = MAX_BYTES - 1_000;
        let full = Err("what births have said takes more than 512 MiB".to_owned());
        assert_eq!(state.device_birth("g/n", "d", named(&[(1, &long)])), full);
        assert_eq!(
            state.names("g/n", "d"),
            None,
            "the names before hold no more"
        );
        assert_eq!(
            state.node_birth("g/n", None, None, named(&[(1, &long)])),
            full
        );
        assert_eq!(state.names("g/n", ""), None);
    }

    #[test]
    fn the_last_birth_counts_and_deaths_clear() {
        let mut state = some_state();
        let name = |state: &SparkplugState, node: &str, device: &str| {
            let names = state.names(node, device)?;
            Some(names.aliased(1)?.name.to_string())
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
        for (born, died, lives) in [
            (3, 3, false),
            (3, 2, true),
            (3, 4, false),
            (0, 255, true),
            (255, 0, false),
            (5, 133, false),
            (5, 134, true),
        ] {
            state
                .node_birth("g/n", Some(0), Some(born), named(&[(1, "rpm")]))
                .unwrap();
            state.node_death("g/n", Some(died));
            assert_eq!(name(&state, "g/n", "").is_some(), lives, "{born} {died}");
            state.node_death("g/n", Some(born));
        }
        assert_eq!(state, SparkplugState::default());
        assert_eq!(state.bytes, 0);
    }

    #[test]
    fn gaps_are_seen_also_where_numbers_begin_again() {
        let mut state = some_state();
        let gaps = [1, 2, 4, 5, 255, 0, 1, 1].map(|seq| state.is_gap("g/n", seq));
        assert_eq!(gaps, [false, false, true, false, true, false, false, true]);
        assert!(!state.is_gap("g/unborn", 9));
    }
}
