//! What each route asks for.
//!
//! A route that fits nothing here is closed: what is new falls under the prefix of its capability, or
//! gets a line.

use axum::extract::Query;
use axum::http::Uri;

use super::scope::{Capability, Scope, Verb};

/// What a route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    /// A token with a scope.
    Token(Scope, Reach),
    /// Someone who is signed in, with a role that may do so much.
    User(Verb, Reach),
    /// Either of them.
    Either(Scope),
    /// A session, whoever's it is.
    Session,
}

/// Whose things a route is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those of the tenant that the request names.
    Tenant,
    /// What all tenants share: nobody's who belongs to one.
    All,
}

/// What its method says of a route, if anything.
#[derive(Clone, Copy)]
enum By {
    Method,
    /// Whatever the method, nothing is changed.
    Reading,
}

const OPEN: [&str; 2] = ["/assets", "/openapi.json"];

/// What begins so is for programs.
const FOR_PROGRAMS: [(&str, Capability, Reach, By); 15] = [
    ("/v1/cache", Capability::Cache, Reach::Tenant, By::Method),
    ("/v1/locks", Capability::Lock, Reach::Tenant, By::Method),
    ("/v1/limits", Capability::Limit, Reach::Tenant, By::Method),
    ("/v1/sessions", Capability::Session, Reach::Tenant, By::Method),
    ("/v1/users", Capability::Session, Reach::Tenant, By::Method),
    ("/v1/flags", Capability::Flag, Reach::Tenant, By::Method),
    ("/v1/flag-segments", Capability::Flag, Reach::Tenant, By::Method),
    ("/v1/streams", Capability::Stream, Reach::Tenant, By::Method),
    ("/v1/subscriptions", Capability::Stream, Reach::Tenant, By::Method),
    ("/v1/queues", Capability::Job, Reach::Tenant, By::Method),
    ("/v1/queue-webhooks", Capability::Job, Reach::Tenant, By::Method),
    ("/v1/recurring", Capability::Job, Reach::Tenant, By::Method),
    ("/v1/redis", Capability::Redis, Reach::All, By::Method),
    ("/v1/audit", Capability::Audit, Reach::All, By::Method),
    // An evaluation is a POST, since a context is too long for a URL.
    ("/ofrep", Capability::Flag, Reach::Tenant, By::Reading),
];

/// What begins so is a page, or a part of one.
const PAGES: [(&str, Reach); 8] = [
    ("/overview", Reach::All),
    ("/caches", Reach::Tenant),
    ("/locks", Reach::Tenant),
    ("/limits", Reach::All),
    ("/sessions", Reach::Tenant),
    ("/flags", Reach::Tenant),
    ("/streams", Reach::Tenant),
    ("/jobs", Reach::Tenant),
];

/// What its prefix and its method do not say of a route.
struct Special {
    method: &'static str,
    path: &'static str,
    /// Of the query.
    when: fn(&Uri) -> bool,
    need: Need,
}

/// The first that fits holds.
static SPECIAL: [Special; 47] = [
    // They count the look-ups of all tenants.
    of("GET", "/v1/cache", Capability::Cache, Verb::Read, Reach::All),
    of("GET", "/v1/cache/{cache}/stats", Capability::Cache, Verb::Read, Reach::All),
    of("DELETE", "/v1/cache/{cache}/entries", Capability::Cache, Verb::Admin, Reach::Tenant),
    // From whoever holds it.
    Special {
        when: |uri| asks(uri, "force").any(|value| value != "false"),
        ..of("DELETE", "/v1/locks/{name}", Capability::Lock, Verb::Admin, Reach::Tenant)
    },
    // Definitions are all tenants', and what is counted beside them too.
    of("GET", "/v1/limits", Capability::Limit, Verb::Read, Reach::All),
    of("GET", "/v1/limits/{name}", Capability::Limit, Verb::Read, Reach::All),
    of("PUT", "/v1/limits/{name}", Capability::Limit, Verb::Admin, Reach::All),
    of("DELETE", "/v1/limits/{name}", Capability::Limit, Verb::Admin, Reach::All),
    // A limit may be called check.
    of("GET", "/v1/limits/check", Capability::Limit, Verb::Read, Reach::All),
    of("PUT", "/v1/limits/check", Capability::Limit, Verb::Admin, Reach::All),
    of("DELETE", "/v1/limits/check", Capability::Limit, Verb::Admin, Reach::All),
    // Lets someone off.
    of("DELETE", "/v1/limits/{name}/{subject}", Capability::Limit, Verb::Admin, Reach::Tenant),
    of("DELETE", "/v1/users/{user}/sessions", Capability::Session, Verb::Admin, Reach::Tenant),
    of("DELETE", "/v1/flags/{key}", Capability::Flag, Verb::Admin, Reach::Tenant),
    of("DELETE", "/v1/flag-segments/{name}", Capability::Flag, Verb::Admin, Reach::Tenant),
    // Before the change that has defined it, there was none: it is removed.
    of("POST", "/v1/flags/{key}/roll-back", Capability::Flag, Verb::Admin, Reach::Tenant),
    // It goes over all that a group has not finished, or all that it has given up.
    of(
        "DELETE",
        "/v1/streams/{topic}/groups/{group}",
        Capability::Stream,
        Verb::Admin,
        Reach::Tenant,
    ),
    of(
        "POST",
        "/v1/streams/{topic}/groups/{group}/seek",
        Capability::Stream,
        Verb::Admin,
        Reach::Tenant,
    ),
    of(
        "DELETE",
        "/v1/streams/{topic}/groups/{group}/dead",
        Capability::Stream,
        Verb::Admin,
        Reach::Tenant,
    ),
    of("POST", "/v1/streams/{topic}/trim", Capability::Stream, Verb::Admin, Reach::Tenant),
    // What is kept for no time is gone at the next trim; with no room, nobody publishes.
    of("PUT", "/v1/streams/{topic}", Capability::Stream, Verb::Admin, Reach::Tenant),
    // It says where a tenant's events are sent.
    of("PUT", "/v1/subscriptions/{name}", Capability::Stream, Verb::Admin, Reach::Tenant),
    of("DELETE", "/v1/subscriptions/{name}", Capability::Stream, Verb::Admin, Reach::Tenant),
    // A limit of nothing holds a queue up, and what was removed of it is gone.
    of("PUT", "/v1/queues/{queue}", Capability::Job, Verb::Admin, Reach::Tenant),
    of("POST", "/v1/queues/{queue}/dead/drop", Capability::Job, Verb::Admin, Reach::Tenant),
    // It says where a tenant's jobs are sent.
    of("PUT", "/v1/queues/{queue}/webhook", Capability::Job, Verb::Admin, Reach::Tenant),
    of("DELETE", "/v1/queues/{queue}/webhook", Capability::Job, Verb::Admin, Reach::Tenant),
    of("DELETE", "/v1/recurring/{name}", Capability::Job, Verb::Admin, Reach::Tenant),
    of("DELETE", "/v1/recurring/preview", Capability::Job, Verb::Admin, Reach::Tenant),
    // Nothing is changed: a definition is too long for a URL.
    of("POST", "/v1/recurring/preview", Capability::Job, Verb::Read, Reach::Tenant),
    of("PUT", "/v1/redis/breakers/{node}", Capability::Redis, Verb::Admin, Reach::All),
    // Flags are each tenant's own. A query that says several kinds is of the others.
    Special {
        when: |uri| asks(uri, "kind").eq(["flag"]),
        ..of("GET", "/v1/audit", Capability::Flag, Verb::Read, Reach::Tenant)
    },
    // And so are streams.
    Special {
        when: |uri| asks(uri, "kind").eq(["stream"]),
        ..of("GET", "/v1/audit", Capability::Stream, Verb::Read, Reach::Tenant)
    },
    Special {
        when: |uri| asks(uri, "kind").eq(["job"]),
        ..of("GET", "/v1/audit", Capability::Job, Verb::Read, Reach::Tenant)
    },
    page("GET", "/caches/{cache}/now", Verb::Read, Reach::All),
    page("GET", "/caches/{cache}/events", Verb::Read, Reach::All),
    page("PUT", "/limits/{limit}/definition", Verb::Admin, Reach::All),
    // Whoever holds it.
    page("DELETE", "/locks/release", Verb::Admin, Reach::Tenant),
    // It may remove the flag, as it may for programs.
    page("PUT", "/flags/{flag}/roll-back", Verb::Admin, Reach::Tenant),
    // As it is for programs.
    page("DELETE", "/streams/{topic}/groups/{group}/forget", Verb::Admin, Reach::Tenant),
    page("DELETE", "/streams/{topic}/groups/{group}/dead/remove", Verb::Admin, Reach::Tenant),
    // As it is for programs.
    page("PUT", "/jobs/{queue}/limits", Verb::Admin, Reach::Tenant),
    page("DELETE", "/jobs/{queue}/dead/drop", Verb::Admin, Reach::Tenant),
    page("DELETE", "/jobs/~recurring/{name}/drop", Verb::Admin, Reach::Tenant),
    // A definition is too long for a URL. Nothing is changed.
    page("POST", "/jobs/~recurring/{name}/preview", Verb::Read, Reach::Tenant),
    // All of a user's, as it is for programs.
    Special {
        when: |uri| asks(uri, "id").all(|id| id.is_empty()),
        ..page("DELETE", "/sessions/end", Verb::Admin, Reach::Tenant)
    },
    // A draft is too long for a URL. Nothing is changed.
    page("POST", "/flags/{flag}/preview", Verb::Read, Reach::Tenant),
];

const fn of(
    method: &'static str,
    path: &'static str,
    capability: Capability,
    verb: Verb,
    reach: Reach,
) -> Special {
    let need = Need::Token(Scope { capability, verb }, reach);
    Special { method, path, when: |_| true, need }
}

const fn page(method: &'static str, path: &'static str, verb: Verb, reach: Reach) -> Special {
    Special { method, path, when: |_| true, need: Need::User(verb, reach) }
}

/// The values that a query gives a name.
fn asks(uri: &Uri, name: &'static str) -> impl Iterator<Item = String> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri).map(|Query(pairs)| pairs);
    let named = move |(said, value): (String, String)| (said == name).then_some(value);
    pairs.unwrap_or_default().into_iter().filter_map(named)
}

/// What a route asks for by its path, as it is written where it is defined. `None`: nothing says.
pub(crate) fn need(method: &str, path: &str, uri: &Uri) -> Option<Need> {
    let method = if method == "HEAD" { "GET" } else { method };
    let special = SPECIAL
        .iter()
        .find(|special| (special.method, special.path) == (method, path) && (special.when)(uri));
    if let Some(special) = special {
        return Some(special.need);
    }
    match path {
        "/" => return Some(Need::User(Verb::Read, Reach::All)),
        "/login" => return Some(Need::Session),
        "/logout" => return Some(Need::User(Verb::Read, Reach::Tenant)),
        "/metrics" => {
            let scope = Scope { capability: Capability::Metrics, verb: Verb::Read };
            return Some(Need::Either(scope));
        }
        _ => {}
    }
    let verb = if method == "GET" { Verb::Read } else { Verb::Write };
    let under = |prefix: &str| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if OPEN.into_iter().any(under) {
        return Some(Need::Nothing);
    }
    let program = FOR_PROGRAMS.into_iter().find(|(prefix, ..)| under(prefix));
    let program = program.map(|(_, capability, reach, by)| {
        let verb = match by {
            By::Method => verb,
            By::Reading => Verb::Read,
        };
        Need::Token(Scope { capability, verb }, reach)
    });
    let page = || PAGES.into_iter().find(|(prefix, _)| under(prefix));
    program.or_else(|| page().map(|(_, reach)| Need::User(verb, reach)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needed(method: &str, path: &str, query: &str) -> Option<Need> {
        need(method, path, &format!("/?{query}").parse().unwrap())
    }

    /// The paths of the dashboard's routes, as its source has them.
    fn pages() -> Vec<&'static str> {
        let sources = [
            include_str!("../dashboard/mod.rs"),
            include_str!("../dashboard/flag/mod.rs"),
            include_str!("../dashboard/stream/mod.rs"),
            include_str!("../dashboard/job/mod.rs"),
        ];
        let routes = sources.into_iter().flat_map(|source| source.split(".route(").skip(1));
        routes.filter_map(|route| route.split('"').nth(1)).collect()
    }

    #[test]
    fn every_route_of_the_dashboard_asks_for_someone_or_is_open_on_purpose() {
        let pages = pages();
        assert!(pages.len() > 20 && pages.contains(&"/caches/{cache}/entry"), "{pages:?}");
        for path in pages {
            for method in ["GET", "POST", "PUT", "DELETE"] {
                let need = needed(method, path, "");
                let is_said = match path.starts_with("/assets/") {
                    true => need == Some(Need::Nothing),
                    false => matches!(need, Some(Need::User(..))),
                };
                assert!(is_said, "{method} {path}: {need:?}");
            }
        }
    }

    #[test]
    fn what_is_said_of_a_page_is_said_of_one_that_there_is() {
        let pages = pages();
        for special in SPECIAL.iter().filter(|one| matches!(one.need, Need::User(..))) {
            assert!(pages.contains(&special.path), "{}", special.path);
        }
    }

    /// One that is renamed would ask for less from then on.
    #[test]
    fn what_is_said_of_a_route_for_programs_is_said_of_one_that_there_is() {
        let (_, document) = crate::serve::api(1 << 20).split_for_parts();
        let document = serde_json::to_value(document).unwrap();
        for special in SPECIAL.iter().filter(|one| matches!(one.need, Need::Token(..))) {
            let method = match special.path {
                // What a limit of that name answers is described where all of them are.
                "/v1/limits/check" | "/v1/recurring/preview" => "post".to_owned(),
                _ => special.method.to_lowercase(),
            };
            let operation = &document["paths"][special.path][method.as_str()];
            assert!(operation.is_object(), "{} {}", special.method, special.path);
        }
    }

    #[test]
    fn the_same_path_asks_for_more_where_more_is_done() {
        for (method, path, query, scope, reach) in [
            ("GET", "/v1/cache/{cache}/entries/{key}", "", "cache:read", Reach::Tenant),
            ("HEAD", "/v1/cache/{cache}/entries/{key}", "", "cache:read", Reach::Tenant),
            ("PUT", "/v1/cache/{cache}/entries/{key}", "", "cache:write", Reach::Tenant),
            ("DELETE", "/v1/cache/{cache}/entries", "all=true", "cache:admin", Reach::Tenant),
            ("HEAD", "/v1/cache", "", "cache:read", Reach::All),
            ("DELETE", "/v1/locks/{name}", "", "lock:write", Reach::Tenant),
            ("DELETE", "/v1/locks/{name}", "force=false", "lock:write", Reach::Tenant),
            ("DELETE", "/v1/locks/{name}", "force=true", "lock:admin", Reach::Tenant),
            ("DELETE", "/v1/locks/{name}", "f%6Frce=true", "lock:admin", Reach::Tenant),
            ("DELETE", "/v1/locks/{name}", "force=false&force=true", "lock:admin", Reach::Tenant),
            ("POST", "/v1/limits/check", "", "limit:write", Reach::Tenant),
            ("PUT", "/v1/limits/check", "", "limit:admin", Reach::All),
            ("PUT", "/v1/limits/{name}", "", "limit:admin", Reach::All),
            ("GET", "/v1/limits/{name}/{subject}", "", "limit:read", Reach::Tenant),
            ("GET", "/v1/users/{user}/sessions", "", "session:read", Reach::Tenant),
            ("POST", "/v1/sessions", "", "session:write", Reach::Tenant),
            ("DELETE", "/v1/users/{user}/sessions", "", "session:admin", Reach::Tenant),
            ("DELETE", "/v1/users/{user}/sessions", "except=x", "session:admin", Reach::Tenant),
            ("DELETE", "/v1/users/{user}/sessions/{id}", "", "session:write", Reach::Tenant),
            ("PUT", "/v1/flags/{key}", "", "flag:write", Reach::Tenant),
            ("DELETE", "/v1/flags/{key}", "", "flag:admin", Reach::Tenant),
            ("POST", "/v1/flags/{key}/roll-back", "", "flag:admin", Reach::Tenant),
            ("POST", "/ofrep/v1/evaluate/flags/{key}", "", "flag:read", Reach::Tenant),
            ("GET", "/v1/redis/breakers", "", "redis:read", Reach::All),
            ("GET", "/v1/audit", "kind=limit", "audit:read", Reach::All),
            ("GET", "/v1/audit", "kind=flag", "flag:read", Reach::Tenant),
            ("GET", "/v1/audit", "kind=stream", "stream:read", Reach::Tenant),
            ("GET", "/v1/audit", "kind=job", "job:read", Reach::Tenant),
            ("GET", "/v1/audit", "kind=stream&kind=limit", "audit:read", Reach::All),
            ("POST", "/v1/queues/{queue}/jobs", "", "job:write", Reach::Tenant),
            ("POST", "/v1/queues/{queue}/reserve", "", "job:write", Reach::Tenant),
            ("GET", "/v1/queues/{queue}/jobs/{id}", "", "job:read", Reach::Tenant),
            ("DELETE", "/v1/queues/{queue}/jobs/{id}", "", "job:write", Reach::Tenant),
            ("PUT", "/v1/queues/{queue}", "", "job:admin", Reach::Tenant),
            ("POST", "/v1/queues/{queue}/dead/retry", "", "job:write", Reach::Tenant),
            ("POST", "/v1/queues/{queue}/dead/drop", "", "job:admin", Reach::Tenant),
            ("PUT", "/v1/queues/{queue}/webhook", "", "job:admin", Reach::Tenant),
            ("GET", "/v1/queue-webhooks", "", "job:read", Reach::Tenant),
            ("PUT", "/v1/recurring/{name}", "", "job:write", Reach::Tenant),
            ("DELETE", "/v1/recurring/{name}", "", "job:admin", Reach::Tenant),
            ("POST", "/v1/recurring/preview", "", "job:read", Reach::Tenant),
            ("POST", "/v1/streams/{topic}", "", "stream:write", Reach::Tenant),
            ("GET", "/v1/streams/{topic}/tail", "", "stream:read", Reach::Tenant),
            ("POST", "/v1/streams/{topic}/groups/{group}/pull", "", "stream:write", Reach::Tenant),
            ("POST", "/v1/streams/{topic}/groups/{group}/seek", "", "stream:admin", Reach::Tenant),
            ("DELETE", "/v1/streams/{topic}/groups/{group}", "", "stream:admin", Reach::Tenant),
            (
                "POST",
                "/v1/streams/{topic}/groups/{group}/dead/redrive",
                "",
                "stream:write",
                Reach::Tenant,
            ),
            (
                "DELETE",
                "/v1/streams/{topic}/groups/{group}/dead",
                "",
                "stream:admin",
                Reach::Tenant,
            ),
            ("PUT", "/v1/streams/{topic}", "", "stream:admin", Reach::Tenant),
            ("PUT", "/v1/subscriptions/{name}", "", "stream:admin", Reach::Tenant),
            ("POST", "/v1/subscriptions/{name}/pause", "", "stream:write", Reach::Tenant),
            ("GET", "/v1/audit", "kind=flag&kind=limit", "audit:read", Reach::All),
            ("GET", "/v1/audit", "", "audit:read", Reach::All),
        ] {
            let Some(Need::Token(needed, of)) = needed(method, path, query) else {
                panic!("{method} {path}?{query}");
            };
            assert_eq!(
                (needed.to_string().as_str(), of),
                (scope, reach),
                "{method} {path}?{query}"
            );
        }
    }

    #[test]
    fn a_page_asks_for_no_less_than_the_api_to_end_all_sessions_of_a_user() {
        for (query, verb) in [
            ("user=ada", Verb::Admin),
            ("user=ada&id=", Verb::Admin),
            ("user=ada&%69d=", Verb::Admin),
            ("user=ada&id=x", Verb::Write),
        ] {
            let needed = needed("DELETE", "/sessions/end", query);
            assert_eq!(needed, Some(Need::User(verb, Reach::Tenant)), "{query}");
        }
        let look = needed("GET", "/sessions/end", "user=ada");
        assert_eq!(look, Some(Need::User(Verb::Read, Reach::Tenant)));
    }

    #[test]
    fn a_page_asks_for_no_less_than_the_api_for_what_cannot_be_undone() {
        for (method, path) in [
            ("DELETE", "/locks/release"),
            ("PUT", "/flags/{flag}/roll-back"),
            ("DELETE", "/streams/{topic}/groups/{group}/forget"),
            ("DELETE", "/streams/{topic}/groups/{group}/dead/remove"),
        ] {
            let needed = |method: &str| needed(method, path, "");
            assert_eq!(needed(method), Some(Need::User(Verb::Admin, Reach::Tenant)), "{path}");
            assert_eq!(needed("GET"), Some(Need::User(Verb::Read, Reach::Tenant)), "{path}");
        }
    }

    #[test]
    fn what_nothing_is_said_of_is_closed() {
        for path in ["/v1", "/v1/cached", "/v2/cache", "/debug", "/assetsx", "/v1/metrics", ""] {
            assert_eq!(needed("GET", path, ""), None, "{path}");
        }
        assert_eq!(needed("GET", "/login", ""), Some(Need::Session));
        assert!(matches!(needed("GET", "/metrics", ""), Some(Need::Either(_))));
    }
}
