//! Sinew beside its peers, in turn, in one run on one server.
//!
//! Prints one JSON object a line: `{"bench","ours","peer","theirs","unit","ratio"}`. A ratio
//! above 1 says how many times better ours is, whichever way the unit runs. A peer that cannot
//! run here has no numbers, and a unit that says why.

mod allocations;
mod cache;
mod flag;
mod job;
mod limit;
mod link;
mod lock;
mod measure;
mod peer;
mod process;
mod session;
mod stream;

// The same servers as the tests'.
#[allow(dead_code, unused_imports)]
#[path = "../../crates/sinew/tests/it/world/mod.rs"]
mod world;

use measure::Effort;
use metrics_exporter_prometheus::PrometheusBuilder;

#[tokio::main]
async fn main() {
    // As in production: what is counted costs. Before the first handle, which looks for it once.
    let _metrics = PrometheusBuilder::new().install_recorder().expect("the only recorder");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, whose, url] = &arguments[..] {
        match word.as_str() {
            limit::MEMBER => return limit::member(whose, url).await,
            flag::READER => return flag::reader(whose, url).await,
            _ => {}
        }
    }
    let effort = match arguments.iter().any(|a| a == "--quick") {
        true => Effort::QUICK,
        false => Effort::FULL,
    };
    let wanted = |capability: &str| {
        let mut named = arguments.iter().filter(|a| !a.starts_with("--")).peekable();
        named.peek().is_none() || named.any(|a| a == capability)
    };
    let mut rows = Vec::new();
    if wanted("link") {
        rows.extend(link::run(effort).await);
    }
    if wanted("cache") {
        rows.extend(cache::run(effort).await);
    }
    if wanted("lock") {
        rows.extend(lock::run(effort).await);
    }
    if wanted("limit") {
        rows.extend(limit::run(effort).await);
    }
    if wanted("session") {
        rows.extend(session::run(effort).await);
    }
    if wanted("flag") {
        rows.extend(flag::run(effort).await);
    }
    if wanted("stream") {
        rows.extend(stream::run(effort).await);
    }
    if wanted("job") {
        rows.extend(job::run(effort).await);
    }
    // Only where it is named: it takes gigabytes.
    if arguments.iter().any(|a| a == job::TEN_MILLION) {
        rows.extend(job::ten_million(effort).await);
    }
    for row in rows {
        println!("{}", serde_json::to_string(&row).expect("plain data"));
    }
}
