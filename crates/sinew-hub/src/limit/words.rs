//! A limit in words.

use super::body::LimitBody;

/// What a limit admits, in a line.
pub(crate) fn in_words(limit: &LimitBody) -> String {
    let LimitBody { algorithm, quota, per, burst, debt_max, lease, on_down, shadow, .. } = limit;
    let burst = burst.map(|burst| format!(", at most {burst} at once"));
    let debt = (*debt_max > 0).then(|| format!(", a debt of {debt_max} at most"));
    let lease = (*lease > 0).then(|| format!(", {lease} at a time to each process"));
    let shadow = if *shadow { ", in shadow" } else { "" };
    format!(
        "{quota} per {per} by {algorithm}{}{}{}, {on_down} if Redis is down{shadow}",
        burst.unwrap_or_default(),
        debt.unwrap_or_default(),
        lease.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_in_a_line() {
        let mut limit = LimitBody {
            name: "calls".to_owned(),
            algorithm: "gcra".to_owned(),
            quota: 100,
            per: "1m".to_owned(),
            burst: None,
            debt_max: 0,
            lease: 0,
            on_down: "local".to_owned(),
            shadow: false,
        };
        assert_eq!(in_words(&limit), "100 per 1m by gcra, local if Redis is down");
        limit = LimitBody { burst: Some(7), debt_max: 3, lease: 5, shadow: true, ..limit };
        assert_eq!(
            in_words(&limit),
            "100 per 1m by gcra, at most 7 at once, a debt of 3 at most, 5 at a time to each process, local if Redis is down, in shadow"
        );
    }
}
