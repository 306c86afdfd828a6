//! One typed door per script, and how limits travel: in doubles, which Lua need not parse.

use std::time::Duration;

use bytes::Bytes;

use crate::kernel::error::{Error, Result};
use crate::kernel::key::Key;
use crate::kernel::redis::{Link, Script};
use crate::limit::algorithm::{Demand, EXACT_MAX, Mode, Receipt, Row, Rule};
use crate::limit::backend::{Place, Reply, Token};
use crate::limit::concurrency::LEASE_MAX;
use crate::limit::down::GONE_AFTER;

// A second run would charge twice.
static CHECK: Script = Script::once(include_str!("../scripts/check.lua"));
static SETTLE: Script = Script::once(include_str!("../scripts/settle.lua"));
// By a token that is no one else's, and that no one asks for again once it was given back.
static ACQUIRE: Script = Script::rerunnable(include_str!("../scripts/concurrency_acquire.lua"));
static RENEW: Script = Script::rerunnable(include_str!("../scripts/concurrency_renew.lua"));
static HEARTBEAT: Script = Script::rerunnable(include_str!("../scripts/heartbeat.lua"));

const HEADER_LEN: usize = 9;
const ROW_LEN: usize = 49;

/// `now_us` by whoever plays with another time than Redis's.
pub(crate) async fn check_at(
    link: &Link,
    demands: &[(&Key, Demand)],
    mode: Mode,
    now_us: Option<u64>,
) -> Result<Reply> {
    let mut packed = Vec::with_capacity(demands.len() * 58);
    for (_, Demand { rule, cost, want, is_shadow }) in demands {
        let (kind, [a, b, c]) = numbers_of(rule);
        packed.extend([kind, u8::from(*is_shadow)]);
        for number in [*cost, *want, rule.capacity(), rule.debt_max(), a, b, c] {
            packed.extend(double(number));
        }
    }
    // One is by far the most frequent.
    let reply: Bytes = match demands {
        [(key, _)] => check(link, &[key.as_str()], packed, mode, now_us).await?,
        _ => {
            let keys: Vec<&str> = demands.iter().map(|(key, _)| key.as_str()).collect();
            check(link, &keys, packed, mode, now_us).await?
        }
    };
    reply_of(&reply, demands.len(), mode)
        .ok_or_else(|| Error::corrupt("unexpected reply to a check"))
}

async fn check(
    link: &Link,
    keys: &[&str],
    packed: Vec<u8>,
    mode: Mode,
    now_us: Option<u64>,
) -> Result<Bytes> {
    let mode = match mode {
        Mode::Charge => "charge",
        Mode::Look => "look",
    };
    let call = link.script(&CHECK, keys).arg(packed).arg(mode);
    match now_us {
        None => call.run().await,
        Some(now_us) => call.arg(now_us).run().await,
    }
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

/// The kind of a rule, and its own numbers.
fn numbers_of(rule: &Rule) -> (u8, [u64; 3]) {
    match rule {
        Rule::Gcra(rule) => (1, [rule.unit, rule.drain, 0]),
        Rule::FixedWindow(rule) => (2, [rule.period_us, 0, 0]),
        Rule::SlidingWindow(rule) => (3, [rule.period_us, rule.tick_us, rule.ticks]),
        Rule::SlidingLog(rule) => (4, [rule.period_us, 0, 0]),
    }
}

fn reply_of(bytes: &[u8], rows: usize, mode: Mode) -> Option<Reply> {
    let (header, rest) = bytes.split_at_checked(HEADER_LEN)?;
    let admitted = *header.first()? == 1;
    let is_charged = admitted && mode == Mode::Charge;
    let rows: Vec<Row> = (rest.len() == rows * ROW_LEN)
        .then(|| rest.chunks_exact(ROW_LEN).map(|row| row_of(row, is_charged)).collect())?;
    Some(Reply { now_us: whole(header, 1), admitted, rows })
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
