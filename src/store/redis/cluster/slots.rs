//! Which node has which keys (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>).

use std::ops::RangeInclusive;

use redis::{FromRedisValue, Value};

use super::super::node::Node;

/// Keys are spread over so many slots.
pub(in super::super) const SLOTS: usize = 16_384;

/// The slot of a key: of what stands between the first braces, if anything does.
pub(super) fn slot_of(key: &str) -> usize {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    usize::from(crc16::State::<crc16::XMODEM>::calculate(hashed.as_bytes())) % SLOTS
}

/// Slots that one primary has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Range {
    pub(in super::super) slots: RangeInclusive<usize>,
    pub(in super::super) primary: Node,
}

/// Reads the answer to `CLUSTER SLOTS` (<https://redis.io/docs/latest/commands/cluster-slots/>) of the node `asked`, which
/// does not always say its own name. `None`: it is none that we know how to read.
pub(super) fn ranges(answer: &Value, asked: &Node) -> Option<Vec<Range>> {
    answer.as_sequence()?.iter().map(|entry| range(entry, asked)).collect()
}

fn range(entry: &Value, asked: &Node) -> Option<Range> {
    let [first, last, primary, ..] = entry.as_sequence()? else { return None };
    let slot = |value| usize::from_redis_value_ref(value).ok().filter(|slot| *slot < SLOTS);
    let (first, last) = (slot(first)?, slot(last)?);
    let [host, port, ..] = primary.as_sequence()? else { return None };
    let host = match host {
        Value::Nil => asked.host.clone(),
        host => String::from_redis_value_ref(host).ok()?,
    };
    let host = known_host(&host, asked)?;
    let primary = Node::told(host, u16::from_redis_value_ref(port).ok()?)?;
    (first <= last).then_some(Range { slots: first..=last, primary })
}

/// Where a redirection leads: `host:port`, of which the host may be missing.
pub(super) fn redirected(to: &str, asked: &Node) -> Option<Node> {
    let (host, port) = to.rsplit_once(':')?;
    Node::told(known_host(host, asked)?, port.parse().ok()?)
}

/// Without a host it is the one that was asked; with `?` nobody knows it yet.
fn known_host<'a>(host: &'a str, asked: &'a Node) -> Option<&'a str> {
    match host {
        "" => Some(&asked.host),
        "?" => None,
        host => Some(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn entry(first: i64, last: i64, host: Value, port: i64) -> Value {
        let primary = Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(Vec::new())]);
        let replica = Value::Array(vec![text("10.0.0.9"), Value::Int(9), text("id"), Value::Array(Vec::new())]);
        Value::Array(vec![Value::Int(first), Value::Int(last), primary, replica])
    }

    #[test]
    fn a_slot_is_that_of_the_text_in_the_first_braces() {
        // The first is the check value of the specification, the others are what CLUSTER KEYSLOT of Redis 7.0 answers.
        assert_eq!(slot_of("123456789"), 0x31C3);
        assert_eq!(slot_of("foo{bar}{zap}"), slot_of("bar"));
        assert_eq!((slot_of("bar"), slot_of("foo{}{bar}"), slot_of("foo{{bar}}zap")), (5061, 8363, slot_of("{bar")));
    }

    #[test]
    fn the_table_of_slots_is_read_whole_or_not_at_all() {
        let asked = Node::new("redis-1", Some(7001));
        let table = vec![
            entry(0, 100, text("redis-2"), 7002),
            entry(101, 101, Value::Nil, 7001),
            entry(102, 16_383, text(""), 7003),
        ];
        let read = ranges(&Value::Array(table.clone()), &asked).unwrap();
        let shown: Vec<_> = read.iter().map(|range| format!("{:?} {}", range.slots, range.primary)).collect();
        assert_eq!(shown, ["0..=100 redis-2:7002", "101..=101 redis-1:7001", "102..=16383 redis-1:7003"]);
        for odd in [
            Value::Okay,
            entry(5, 4, text("a"), 1),
            entry(0, 16_384, text("a"), 1),
            entry(-1, 4, text("a"), 1),
            entry(0, 4, text("a"), 0),
            entry(0, 4, text("?"), 1),
            entry(0, 4, text("a\u{1b}[2J"), 1),
            Value::Array(vec![Value::Int(1), Value::Int(2)]),
        ] {
            let with_odd = table.iter().cloned().chain([odd.clone()]).collect();
            assert_eq!(ranges(&Value::Array(with_odd), &asked), None, "{odd:?}");
        }
    }

    #[test]
    fn a_redirection_without_a_host_stays_with_the_one_that_was_asked() {
        let asked = Node::new("redis-1", Some(7001));
        let to = |text: &str| redirected(text, &asked).map(|node| node.to_string());
        assert_eq!(to("10.0.0.2:7002").as_deref(), Some("10.0.0.2:7002"));
        assert_eq!(to(":7002").as_deref(), Some("redis-1:7002"));
        assert_eq!(to("2001:db8::1:7002").as_deref(), Some("[2001:db8::1]:7002"));
        assert_eq!((to("?:7002"), to("nowhere"), to("a:0"), to("a\u{7}:1")), (None, None, None, None));
    }
}
