//! Every metric name, in one place. No label ever holds a key, an id, a user or a tenant.

/// Cache look-ups, by `cache` and `result` (`hit_local`, `hit_redis`, `miss`).
pub(crate) const CACHE_REQUESTS: &str = "sinew_cache_requests_total";
/// Loads from the source, by `cache` and `outcome` (`ok`, `error`).
pub(crate) const CACHE_LOADS: &str = "sinew_cache_loads_total";
/// Seconds that loads took, by `cache`.
pub(crate) const CACHE_LOAD_DURATION: &str = "sinew_cache_load_duration_seconds";
/// Failures that callers were shielded from, by `cache`, `operation` and `kind`.
pub(crate) const CACHE_ERRORS: &str = "sinew_cache_errors_total";
/// 1 while the connection to Redis is up.
pub(crate) const REDIS_UP: &str = "sinew_redis_up";
