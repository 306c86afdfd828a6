//! Who serves what: the primaries of a deployment and the slots of each.

use std::collections::HashSet;
use std::sync::Arc;

use redis::Value;

use super::node::Node;
use super::slot::SLOTS;
use super::target::{HostPort, host_port};

/// The primaries of the moment. Replaced as a whole.
#[derive(Default)]
pub(super) struct Map {
    pub(super) nodes: Vec<Arc<Node>>,
    owners: Owners,
}

#[derive(Default)]
enum Owners {
    #[default]
    Unknown,
    /// No slots: one server has all keys.
    One,
    /// By slot, the place in `nodes`.
    Slots(Box<[u16]>),
}

const NOBODY: u16 = u16::MAX;

impl Map {
    pub(super) fn of_one(node: Arc<Node>) -> Self {
        Self { nodes: vec![node], owners: Owners::One }
    }

    pub(super) fn of_cluster(
        layout: &Layout,
        mut node_at: impl FnMut(&HostPort) -> Arc<Node>,
    ) -> Self {
        let nodes = layout.primaries.iter().map(&mut node_at).collect();
        Self { nodes, owners: Owners::Slots(layout.owners.clone()) }
    }

    /// How many slots nobody serves.
    pub(super) fn uncovered(&self) -> usize {
        match &self.owners {
            Owners::Slots(owners) => owners.iter().filter(|owner| **owner == NOBODY).count(),
            Owners::Unknown | Owners::One => 0,
        }
    }

    /// The nodes of this map that have fewer slots in the next one.
    pub(super) fn losers(&self, next: &Self) -> Vec<Arc<Node>> {
        let (Owners::Slots(owners), Owners::Slots(new_owners)) = (&self.owners, &next.owners)
        else {
            return Vec::new();
        };
        let mut losers: Vec<Arc<Node>> = Vec::new();
        for (owner, new_owner) in owners.iter().zip(new_owners) {
            let (Some(owner), new_owner) =
                (self.nodes.get(usize::from(*owner)), next.nodes.get(usize::from(*new_owner)))
            else {
                continue;
            };
            let stays = new_owner.is_some_and(|new| Arc::ptr_eq(new, owner));
            if !stays && !losers.iter().any(|loser| Arc::ptr_eq(loser, owner)) {
                losers.push(Arc::clone(owner));
            }
        }
        losers
    }

    /// The node that has all keys, where there is one.
    pub(super) fn the_one(&self) -> Option<&Arc<Node>> {
        match self.owners {
            Owners::One => self.nodes.first(),
            Owners::Unknown | Owners::Slots(_) => None,
        }
    }

    pub(super) fn is_known(&self) -> bool {
        !matches!(self.owners, Owners::Unknown)
    }

    /// The node of a slot. Working out the slot of a key costs something, and one server has none.
    pub(super) fn node_of(&self, slot: impl FnOnce() -> u16) -> Option<&Arc<Node>> {
        match &self.owners {
            Owners::Unknown => None,
            Owners::One => self.nodes.first(),
            Owners::Slots(owners) => self.nodes.get(usize::from(owners[usize::from(slot())])),
        }
    }
}

/// A cluster's own word on who serves which slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) primaries: Vec<HostPort>,
    owners: Box<[u16]>,
}

impl Layout {
    /// Reads the reply to `CLUSTER SLOTS`. `asked` stands in for hosts that are left out.
    pub(super) fn read(reply: &Value, asked: &HostPort, nodes_max: usize) -> Option<Self> {
        let Value::Array(ranges) = reply else { return None };
        let mut layout =
            Self { primaries: Vec::new(), owners: vec![NOBODY; SLOTS.into()].into_boxed_slice() };
        for range in ranges {
            let Value::Array(parts) = range else { return None };
            let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = parts.as_slice()
            else {
                return None;
            };
            let at = node_address(primary, asked)?;
            let place = layout.place_of(at)?;
            if layout.primaries.len() > nodes_max {
                return None;
            }
            let (first, last) = (usize::try_from(*first).ok()?, usize::try_from(*last).ok()?);
            layout.owners.get_mut(first..=last)?.fill(place);
        }
        Some(layout)
    }

    fn place_of(&mut self, at: HostPort) -> Option<u16> {
        let known = self.primaries.iter().position(|primary| *primary == at);
        let place = known.unwrap_or_else(|| {
            self.primaries.push(at);
            self.primaries.len() - 1
        });
        u16::try_from(place).ok().filter(|place| *place != NOBODY)
    }

    pub(super) fn addresses(&self) -> HashSet<&HostPort> {
        self.primaries.iter().collect()
    }
}

fn node_address(node: &[Value], asked: &HostPort) -> Option<HostPort> {
    let [host, Value::Int(port), ..] = node else { return None };
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        Value::Nil => "",
        _ => return None,
    };
    let port = u16::try_from(*port).ok()?;
    match host {
        "" | "?" => Some(HostPort { host: asked.host.clone(), port }),
        host if host.contains(':') => host_port(&format!("[{host}]:{port}"), 0),
        host => host_port(&format!("{host}:{port}"), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let primary = Value::Array(vec![host, Value::Int(port), Value::Nil]);
        Value::Array(vec![Value::Int(first), Value::Int(last), primary])
    }

    #[test]
    fn a_layout_says_who_serves_which_slot() {
        let asked = HostPort { host: "10.0.0.9".to_owned(), port: 7000 };
        let named = |host: &str| Value::BulkString(host.into());
        let reply = Value::Array(vec![
            range(0, 99, named("10.0.0.1"), 7000),
            range(200, 16_383, Value::Nil, 7001),
            range(100, 149, named("10.0.0.1"), 7000),
        ]);
        let layout = Layout::read(&reply, &asked, 9).unwrap();
        let at: Vec<String> = layout.primaries.iter().map(ToString::to_string).collect();
        assert_eq!(at, ["10.0.0.1:7000", "10.0.0.9:7001"]);
        assert_eq!((layout.owners[0], layout.owners[149], layout.owners[200]), (0, 0, 1));
        assert_eq!(layout.owners[150], NOBODY);
        assert_eq!(Layout::read(&reply, &asked, 1), None, "more nodes than there may be");
    }

    #[test]
    fn a_reply_that_makes_no_sense_makes_no_layout() {
        let asked = HostPort { host: "h".to_owned(), port: 1 };
        let host = || Value::BulkString("h".into());
        for reply in [
            Value::Nil,
            Value::Array(vec![Value::Nil]),
            Value::Array(vec![range(0, 16_384, host(), 1)]),
            Value::Array(vec![range(-1, 5, host(), 1)]),
            Value::Array(vec![range(0, 5, host(), 70_000)]),
            Value::Array(vec![range(9, 5, Value::Int(3), 1)]),
        ] {
            assert_eq!(Layout::read(&reply, &asked, 9), None, "{reply:?}");
        }
    }
}
