//! One typed door per script, and how limits travel: in doubles, which Lua need not parse.

use std::time::Duration;

use bytes::Bytes;

use crate::kernel::error::{Error, Result};
use crate::kernel::key::Key;
use crate::kernel::redis::{Link, Script};
use crate::limit::algorithm::{Demand, EXACT_MAX, Mode, Receipt, Row, Rule};
use crate::limit::backend::{Place, Reply, Token};
use crate::limit::concurrency::LEASE_MAX;
use crate::limit::definitions::{CHANGES_MAX, DEFINITIONS_MAX, Edit, Edited};
use crate::limit::down::GONE_AFTER;

// A second run would charge twice.
static CHECK: Script = Script::once(concat!(
    include_str!("../scripts/parts.lua"),
    include_str!("../scripts/check.lua")
));
static SETTLE: Script = Script::once(concat!(
    include_str!("../scripts/parts.lua"),
    include_str!("../scripts/settle.lua")
));
// It would meet what it has written itself, and call that another revision.
static DEFINE: Script = Script::once(include_str!("../scripts/define.lua"));
// By a token that is no one else's, and that no one asks for again once it was given back.
static ACQUIRE: Script = Script::rerunnable(include_str!("../scripts/concurrency_acquire.lua"));
static RENEW: Script = Script::rerunnable(include_str!("../scripts/concurrency_renew.lua"));
static HEARTBEAT: Script = Script::rerunnable(include_str!("../scripts/heartbeat.lua"));

/// Two bytes, seven doubles.
const DEMAND_LEN: usize = 58;
const HEADER_LEN: usize = 9;
const ROW_LEN: usize = 49;

/// `now_us` by whoever plays with another time than Redis's.
pub(crate) async fn check_at(
    link: &Link,
    demands: &[(&Key, Demand)],
    mode: Mode,
    now_us: Option<u64>,
) -> Result<Reply> {
    let mut packed = Vec::with_capacity(demands.len() * DEMAND_LEN);
    demands.iter().for_each(|(_, demand)| pack(*demand, &mut packed));
    let sizes = [u8::try_from(demands.len()).unwrap_or(u8::MAX)];
    // One is by far the most frequent.
    let reply = match demands {
        [(key, _)] => check(link, &[key.as_str()], packed, &sizes, mode, now_us).await?,
        _ => {
            let keys: Vec<&str> = demands.iter().map(|(key, _)| key.as_str()).collect();
            check(link, &keys, packed, &sizes, mode, now_us).await?
        }
    };
    reply_of(&reply, demands.len(), mode)
}

/// Requests one after the other, of so many limits each. Their replies are as long as
/// [`reply_len`] says.
pub(super) async fn check(
    link: &Link,
    keys: &[&str],
    packed: Vec<u8>,
    sizes: &[u8],
    mode: Mode,
    now_us: Option<u64>,
) -> Result<Bytes> {
    let call = link.script(&CHECK, keys).arg(packed).arg(sizes);
    match (mode, now_us) {
        (Mode::Charge, None) => call.run().await,
        (Mode::Charge, Some(now_us)) => call.arg("charge").arg(now_us).run().await,
        (Mode::Look, None) => call.arg("look").run().await,
        (Mode::Look, Some(now_us)) => call.arg("look").arg(now_us).run().await,
    }
}

/// As a limit and what is asked of it travel.
pub(super) fn pack(demand: Demand, packed: &mut Vec<u8>) {
    let Demand { rule, cost, want, is_shadow } = demand;
    let (kind, [a, b, c]) = numbers_of(&rule);
    packed.extend([kind, u8::from(is_shadow)]);
    for number in [cost, want, rule.capacity(), rule.debt_max(), a, b, c] {
        packed.extend(double(number));
    }
}

/// How long the reply to a request of so many limits is.
pub(super) fn reply_len(limits: usize) -> usize {
    HEADER_LEN + limits * ROW_LEN
}

pub(crate) async fn settle_at(
    link: &Link,
    key: &Key,
    rule: Rule,
    receipt: &Receipt,
    actual: u64,
    now_us: Option<u64>,
) -> Result<()> {
    let (kind, [a, b, c]) = numbers_of(&rule);
    let mut packed = vec![kind];
    let Receipt { charged, at_us, mark } = *receipt;
    for number in [rule.capacity(), rule.debt_max(), a, b, c, charged, at_us, mark, actual] {
        packed.extend(double(number));
    }
    let now_us = now_us.map_or_else(String::new, |now_us| now_us.to_string());
    // What is given back should arrive also where new requests are held up.
    link.script(&SETTLE, &[key.as_str()]).arg(now_us).arg(packed).past_breaker().run().await
}

pub(super) async fn acquire(
    link: &Link,
    key: &Key,
    token: Token,
    places: u64,
    lease: Duration,
) -> Result<Place> {
    let call = link
        .script(&ACQUIRE, &[key.as_str()])
        .arg(&token.to_bytes()[..])
        .arg(places)
        .arg(micros(lease))
        .arg(micros(LEASE_MAX));
    let wait_us: u64 = call.run().await?;
    Ok(match wait_us {
        0 => Place::Held,
        wait_us => Place::Full(Duration::from_micros(wait_us)),
    })
}

pub(super) async fn renew(link: &Link, key: &Key, token: Token, lease: Duration) -> Result<bool> {
    link.script(&RENEW, &[key.as_str()])
        .arg(&token.to_bytes()[..])
        .arg(micros(lease))
        .past_breaker()
        .run()
        .await
}

pub(super) async fn heartbeat(link: &Link, processes: &str, process: Token) -> Result<u64> {
    link.script(&HEARTBEAT, &[processes])
        .arg(&process.to_bytes()[..])
        .arg(u64::try_from(GONE_AFTER.as_millis()).unwrap_or(u64::MAX))
        .run()
        .await
}

pub(super) async fn define(link: &Link, keys: [&str; 2], edit: &Edit<'_>) -> Result<Edited> {
    let expected = edit.expected.revision().map_or_else(String::new, |it| it.to_string());
    let call = link
        .script(&DEFINE, &keys)
        .arg(edit.name)
        .arg(expected)
        .arg(edit.definition.as_deref().unwrap_or_default())
        .arg(edit.by)
        .arg(DEFINITIONS_MAX)
        .arg(CHANGES_MAX);
    let (outcome, revision, before): (u8, u64, Bytes) = call.run().await?;
    match outcome {
        0 => Ok(Edited::Conflict(revision)),
        1 => Ok(Edited::Done { revision, before: (!before.is_empty()).then_some(before) }),
        2 => Ok(Edited::Full),
        _ => Err(Error::corrupt("unexpected reply to a definition")),
    }
}

/// The kind of a rule, and its own numbers.
fn numbers_of(rule: &Rule) -> (u8, [u64; 3]) {
    match rule {
        Rule::Gcra(rule) => (1, [rule.unit, rule.drain, 0]),
        Rule::FixedWindow(rule) => (2, [rule.period_us, 0, 0]),
        Rule::SlidingWindow(rule) => (3, [rule.period_us, rule.tick_us, rule.ticks]),
        Rule::SlidingLog(rule) => (4, [rule.period_us, 0, 0]),
    }
}

pub(super) fn reply_of(bytes: &[u8], limits: usize, mode: Mode) -> Result<Reply> {
    let unexpected = || Error::corrupt("unexpected reply to a check");
    if bytes.len() != reply_len(limits) {
        return Err(unexpected());
    }
    let (header, rows) = bytes.split_at_checked(HEADER_LEN).ok_or_else(unexpected)?;
    let admitted = header.first() == Some(&1);
    let is_charged = admitted && mode == Mode::Charge;
    let rows = rows.chunks_exact(ROW_LEN).map(|row| row_of(row, is_charged)).collect();
    Ok(Reply { now_us: whole(header, 1), admitted, rows })
}

fn row_of(row: &[u8], is_charged: bool) -> Row {
    let number = |nth: usize| whole(row, 1 + 8 * nth);
    let admits = row[0] == 1;
    let (remaining, reset_us, after_us, granted) = (number(0), number(1), number(2), number(4));
    let retry_us = double_at(row, 1 + 8 * 3);
    let retry_us = (retry_us >= 0.0).then(|| whole_of(retry_us));
    let row = Row { admits, remaining, reset_us, retry_us, granted: 0, mark: number(5) };
    match is_charged && admits {
        true => Row {
            remaining: remaining - granted.min(remaining),
            reset_us: after_us,
            granted,
            ..row
        },
        false => row,
    }
}

/// No number of ours is larger than a double holds exactly: what is, is one that a caller made up, and
/// larger than all limits all the same.
#[allow(clippy::cast_precision_loss)]
fn double(number: u64) -> [u8; 8] {
    (number.min(EXACT_MAX) as f64).to_be_bytes()
}

fn double_at(bytes: &[u8], at: usize) -> f64 {
    let double = bytes.get(at..at + 8).and_then(|double| double.try_into().ok());
    double.map_or(0.0, f64::from_be_bytes)
}

fn whole(bytes: &[u8], at: usize) -> u64 {
    whole_of(double_at(bytes, at))
}

/// Negative and not a number are 0, and it ends at the largest: as it should.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole_of(double: f64) -> u64 {
    double as u64
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
