//! The promises, as laws that every store has to keep.

#[macro_use]
mod laws;
// One world for all crates' tests; each needs a part of it.
#[allow(dead_code, unused_imports)]
mod world;

mod absence;
mod batch;
mod cache;
mod drift;
mod extras;
mod faults;
mod flag;
mod flag_faults;
mod flag_fleet;
mod flag_loss;
mod flag_open_feature;
mod flag_scans;
mod flag_watch;
mod flags_macro;
mod fleet;
mod formats;
mod freshness;
mod full;
mod http_cache;
mod http_limit;
mod http_session;
mod limit_busiest;
mod limit_crowd;
mod limit_definitions;
mod limit_faults;
mod limit_fleet;
mod limits;
mod local_copies;
mod local_keys;
mod local_level;
mod lock;
mod lock_torture;
mod locked;
mod macros;
mod member;
mod outage;
mod session;
mod session_torture;
mod session_tower;
mod setup;
mod source;
mod tag_life;
mod tags;
mod topology;
mod torture;
mod unchanged;
mod versions;
