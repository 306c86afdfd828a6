//! Every metric name, in one place. No label ever holds a key, an id, a user or a tenant.

/// Cache look-ups, by `cache` and `result` (`hit_local`, `hit_redis`, `stale`, `miss`).
pub(crate) const CACHE_REQUESTS: &str = "sinew_cache_requests_total";
/// Loads from the source, by `cache` and `outcome` (`ok`, `error`).
pub(crate) const CACHE_LOADS: &str = "sinew_cache_loads_total";
/// Seconds that loads took, by `cache`.
pub(crate) const CACHE_LOAD_DURATION: &str = "sinew_cache_load_duration_seconds";
/// Hits that were found to differ from the source for longer than a change takes, by `cache`.
pub(crate) const CACHE_INCONSISTENCIES: &str = "sinew_cache_inconsistencies_total";
/// Failures that callers were shielded from, by `cache`, `operation` and `kind`.
pub(crate) const CACHE_ERRORS: &str = "sinew_cache_errors_total";
/// 1 while all of Redis is connected.
pub(crate) const REDIS_UP: &str = "sinew_redis_up";
/// Times that another server became the primary, or that of a part of a cluster.
pub(crate) const REDIS_FAILOVERS: &str = "sinew_redis_failovers_total";
/// Looks at the flags of an environment, by `outcome` (`ok`, `error`).
pub(crate) const FLAG_LOOKS: &str = "sinew_flag_looks_total";
/// Plain keys of flags that do not count, by `reason` (`name`, `value`, `full`), each time they are read.
pub(crate) const FLAG_OVERLAYS_IGNORED: &str = "sinew_flag_overlays_ignored_total";
/// Where a breaker stands, by `breaker`: 0 closed, 1 half-open, 2 open, 3 isolated.
pub(crate) const BREAKER_STATE: &str = "sinew_circuit_breaker_state";
/// Seconds that getting a lock took, waiting included, by `outcome` (`got`, `held`, `error`).
pub(crate) const LOCK_ACQUIRE_DURATION: &str = "sinew_lock_acquire_duration_seconds";
/// Locks that were lost while a guard held them: taken away, or not renewed in time.
pub(crate) const LOCK_LOST: &str = "sinew_lock_lost_total";
/// Decisions of rate limits, by `limit` and `decision` (`admitted`, `denied`, `shadow_denied`).
pub(crate) const LIMIT_DECISIONS: &str = "sinew_limit_decisions_total";
/// Of these, those that were decided without Redis, by `limit`.
pub(crate) const LIMIT_DEGRADED: &str = "sinew_limit_degraded_total";
/// Times that a session was asked for, by `outcome` (`live`, `unknown`, `expired`, `ended`, `error`).
pub(crate) const SESSION_LOADS: &str = "sinew_session_loads_total";
/// Sessions that began, by `of` (`user`, `nobody`).
pub(crate) const SESSIONS_BEGUN: &str = "sinew_sessions_begun_total";
/// Sessions that were ended, by `cause` (`logout`, `login`, `rotated`, `too_many`, `revoked`, `all`, `others`).
/// All of a user's that are ended together count as one.
pub(crate) const SESSIONS_ENDED: &str = "sinew_sessions_ended_total";
/// Subjects of rate limits that this process forgot early because it counts too many by itself.
pub(crate) const LIMIT_EVICTED: &str = "sinew_limit_evicted_total";
/// Events that were published, by `topic` and `outcome` (`done`, `duplicate`, `later`, `full`, `error`).
pub(crate) const STREAM_PUBLISHED: &str = "sinew_stream_published_total";
/// Events whose handler has ended, by `topic`, `group` and `outcome` (`done`, `dropped`, `failed`, `retry`, `dead`,
/// `duplicate`, `lost`).
pub(crate) const STREAM_HANDLED: &str = "sinew_stream_handled_total";
/// Seconds that handlers took, by `topic` and `group`.
pub(crate) const STREAM_HANDLE_DURATION: &str = "sinew_stream_handle_duration_seconds";
/// Events that a group has not finished, by `topic` and `group`: of all tenants of a process together.
pub(crate) const STREAM_LAG: &str = "sinew_stream_lag_messages";
/// The age in seconds of the oldest of them, by `topic` and `group`: of whichever tenant it is.
pub(crate) const STREAM_OLDEST_AGE: &str = "sinew_stream_oldest_unacked_age_seconds";
/// Events that became dead letters, by `topic` and `group`.
pub(crate) const STREAM_DEAD_LETTERED: &str = "sinew_stream_dead_lettered_total";
/// Events that were lost, by `topic`, `group` and `cause`: `deleted` and `flushed` from the store, `lease` to another
/// process.
pub(crate) const STREAM_LOST: &str = "sinew_stream_lost_total";
/// Partitions that this process owns, by `topic` and `group`.
pub(crate) const STREAM_PARTITIONS_OWNED: &str = "sinew_stream_partitions_owned";
/// Jobs that were enqueued, by `queue` and `outcome` (`new`, `exists`, `duplicate`, `replaced`, `full`, `error`).
pub(crate) const JOB_ENQUEUED: &str = "sinew_job_enqueued_total";
/// Jobs whose handler has ended, by `queue`, `kind` and `outcome` (`done`, `failed`, `retry`, `snoozed`, `dead`, `lost`,
/// `cancelled`). A kind that no handler is registered for is `other`.
pub(crate) const JOB_FINISHED: &str = "sinew_job_finished_total";
/// Seconds that handlers took, by `queue` and `kind`.
pub(crate) const JOB_DURATION: &str = "sinew_job_duration_seconds";
/// Seconds from when a job was enqueued until its first run, by `queue`.
pub(crate) const JOB_WAIT: &str = "sinew_job_wait_seconds";
/// Jobs that this process runs, by `queue`.
pub(crate) const JOB_RUNNING: &str = "sinew_job_running";
/// Jobs that this process had and lost, by `queue` and `cause` (`lease`, `cancelled`, `crashed`).
pub(crate) const JOB_LOST: &str = "sinew_job_lost_total";
/// Jobs that became dead, by `queue` and `kind`.
pub(crate) const JOB_DEAD: &str = "sinew_job_dead_total";
/// Ticks of recurring jobs, by `outcome` (`fired`, `missed`, `overlapped`, `error`).
pub(crate) const JOB_FIRED: &str = "sinew_job_fired_total";
