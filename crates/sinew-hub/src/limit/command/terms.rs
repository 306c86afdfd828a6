//! What a limit is to be, on the command line.

use clap::Args;
use sinew::limit::{Algorithm, Down, Limit};

use crate::cli::Outcome;
use crate::duration;
use crate::limit::body::{LimitBody, limit_of};

/// All of it may be left out.
#[derive(Args)]
pub struct Terms {
    /// How much is admitted per period
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = from_one)]
    quota: Option<u64>,
    /// The period: 30s, 1m, 24h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = period)]
    per: Option<String>,
    /// How it counts [default: gcra]
    #[arg(long, value_parser = ["gcra", "fixed-window", "sliding-window", "sliding-log"])]
    algorithm: Option<String>,
    /// How much may be taken at once, by gcra [default: the quota]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = from_one)]
    burst: Option<u64>,
    /// What a subject may owe, when a reservation has cost more [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = from_zero)]
    debt_max: Option<u64>,
    /// What is answered while Redis is down: this process's share, everything, or nothing [default: local]
    #[arg(long, value_parser = ["local", "open", "closed"])]
    on_down: Option<String>,
    /// Decide and count, and stop no one; --shadow=false ends that
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    shadow: Option<bool>,
}

impl Terms {
    /// A limit of which nothing was said before; `None` without a quota and a period.
    pub(super) fn alone(&self, name: &str) -> Option<LimitBody> {
        Some(self.over(LimitBody {
            name: name.to_owned(),
            algorithm: Algorithm::Gcra.name().to_owned(),
            quota: self.quota?,
            per: self.per.clone()?,
            burst: None,
            debt_max: 0,
            // `define` alone says one: a command that ends can hand out nothing.
            lease: 0,
            on_down: Down::default().name().to_owned(),
            shadow: false,
        }))
    }

    /// A limit of which what is not said stays as it is.
    pub(super) fn over(&self, before: LimitBody) -> LimitBody {
        let or = |said: &Option<String>, before: String| said.clone().unwrap_or(before);
        let algorithm = or(&self.algorithm, before.algorithm);
        // Only GCRA has a burst, which goes with it.
        let burst = before.burst.filter(|_| algorithm == Algorithm::Gcra.name());
        LimitBody {
            name: before.name,
            algorithm,
            quota: self.quota.unwrap_or(before.quota),
            per: or(&self.per, before.per),
            burst: self.burst.or(burst),
            debt_max: self.debt_max.unwrap_or(before.debt_max),
            lease: before.lease,
            on_down: or(&self.on_down, before.on_down),
            shadow: self.shadow.unwrap_or(before.shadow),
        }
    }

    /// The limit that is said in place of one that is defined, if any is.
    pub(super) fn in_place_of(&self, name: &str) -> Result<Option<Limit>, Outcome> {
        if self.are_none() {
            return Ok(None);
        }
        let body = self.alone(name).ok_or_else(|| {
            Outcome::BadInput(
                "terms of a limit that is not defined: expected --quota and --per among them"
                    .to_owned(),
            )
        })?;
        limit_of(&body).map(Some).map_err(Outcome::BadInput)
    }

    /// Whether it is said what is answered while Redis is down.
    pub(super) fn say_on_down(&self) -> bool {
        self.on_down.is_some()
    }

    /// Whether nothing is said.
    fn are_none(&self) -> bool {
        let Self { quota, per, algorithm, burst, debt_max, on_down, shadow } = self;
        let numbers = [quota, burst, debt_max];
        let words = [per, algorithm, on_down];
        numbers.iter().all(|number| number.is_none())
            && words.iter().all(|word| word.is_none())
            && shadow.is_none()
    }
}

/// # Errors
/// What was expected.
pub(super) fn from_zero(text: &str) -> Result<u64, String> {
    text.parse::<u64>().map_err(|_| "expected a whole number, 0 or more".to_owned())
}

/// # Errors
/// What was expected.
pub(super) fn from_one(text: &str) -> Result<u64, String> {
    let number = text.parse::<u64>().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "expected a whole number, 1 or more".to_owned())
}

/// As it is written.
fn period(text: &str) -> Result<String, String> {
    duration::parse(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        terms: Terms,
    }

    fn terms(words: &[&str]) -> Terms {
        Line::try_parse_from([&["line"], words].concat()).map(|line| line.terms).ok().unwrap()
    }

    #[test]
    fn what_is_not_said_stays_as_it_is() {
        let least = terms(&["--quota", "5", "--per", "1m"]);
        let login = LimitBody {
            burst: Some(1),
            debt_max: 3,
            lease: 2,
            on_down: "closed".to_owned(),
            shadow: true,
            ..least.alone("login").unwrap()
        };
        assert_eq!(terms(&[]).over(login.clone()), login);
        let raised = terms(&["--quota", "9"]).over(login.clone());
        assert_eq!(raised, LimitBody { quota: 9, ..login.clone() });
        let enforced = terms(&["--shadow=false", "--debt-max", "0"]).over(login.clone());
        assert_eq!(enforced, LimitBody { debt_max: 0, shadow: false, ..login.clone() });
        let logged = terms(&["--algorithm", "sliding-log"]).over(login.clone());
        let algorithm = "sliding-log".to_owned();
        assert_eq!(logged, LimitBody { algorithm, burst: None, ..login });
    }

    #[test]
    fn a_limit_that_is_not_defined_needs_a_quota_and_a_period() {
        assert!(matches!(terms(&[]).in_place_of("calls"), Ok(None)));
        assert!(matches!(
            terms(&["--quota", "1", "--per", "1s"]).in_place_of("calls"),
            Ok(Some(_))
        ));
        for lacking in [&["--quota", "1"][..], &["--per", "1s"], &["--shadow"], &["--burst", "1"]] {
            let refused = terms(lacking).in_place_of("calls");
            assert!(matches!(refused, Err(Outcome::BadInput(_))), "{lacking:?}");
        }
    }
}
