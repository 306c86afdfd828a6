//! `sinew cache list|stats`: what a hub's caches did.

use super::print_json;
use crate::cache::body::StatsBody;
use crate::cli::Outcome;
use crate::cli::request::At;
use crate::cli::table::table;

pub(super) async fn list(at: &At) -> Result<(), Outcome> {
    let caches: Vec<StatsBody> = at.request(&["v1", "cache"])?.get().await?;
    if at.json {
        return print_json(&caches);
    }
    let titles = ["CACHE", "HIT RATIO", "LOOK-UPS", "STALE", "MISSES", "LOADS", "INCONSISTENT"];
    let rows: Vec<[String; 7]> = caches.into_iter().map(row).collect();
    print!("{}", table(titles, &rows));
    Ok(())
}

fn row(stats: StatsBody) -> [String; 7] {
    let (ratio, requests) = (ratio(&stats), stats.requests());
    let counts = [requests, stats.stale, stats.misses, stats.loads, stats.inconsistencies];
    let [requests, stale, misses, loads, inconsistencies] = counts.map(|count| count.to_string());
    [stats.cache, ratio, requests, stale, misses, loads, inconsistencies]
}

pub(super) async fn stats(cache: &str, at: &At) -> Result<(), Outcome> {
    let stats: StatsBody = at.request(&["v1", "cache", cache, "stats"])?.get().await?;
    if at.json {
        return print_json(&stats);
    }
    println!("cache         {cache}");
    println!("hit ratio     {}", ratio(&stats));
    for (title, count) in [
        ("hits local", stats.hits_local),
        ("hits redis", stats.hits_redis),
        ("stale", stats.stale),
        ("misses", stats.misses),
        ("loads", stats.loads),
        ("failed loads", stats.load_errors),
        ("store errors", stats.errors),
        ("checked", stats.checked),
        ("inconsistent", stats.inconsistencies),
    ] {
        println!("{title:<13} {count}");
    }
    Ok(())
}

fn ratio(stats: &StatsBody) -> String {
    stats.hit_ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0))
}
