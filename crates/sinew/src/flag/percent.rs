//! A share of everyone.

use std::fmt;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::murmur::BUCKETS;
use crate::kernel::error::{Error, Result};

const EXPECTED: &str = "expected a percentage from 0 to 100 with at most 3 decimals";

/// A share of everyone, in percent: 0 to 100, to three decimals.
///
/// ```
/// use sinew::flag::PercentExt;
///
/// assert_eq!(12.5.percent().to_string(), "12.5%");
/// assert_eq!(12.5.percent().rest(), 87.5.percent());
/// assert!(120.percent().thousandths().is_err());
/// ```
///
/// A number that is no such share is told when a flag with it is validated or saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(Option<u32>);

impl Percent {
    /// In thousandths of a percent, 100,000 at most.
    ///
    /// # Errors
    /// `Rejected` for a number that was no share.
    pub fn thousandths(self) -> Result<u32> {
        self.0.ok_or_else(|| Error::rejected(EXPECTED))
    }

    /// What is missing to 100 %.
    #[must_use]
    pub fn rest(self) -> Self {
        Self(self.0.map(|thousandths| BUCKETS - thousandths))
    }

    fn of(percent: f64) -> Self {
        let thousandths = percent * 1_000.0;
        let nearest = thousandths.round();
        // 0.1 is not exact in binary; a fourth decimal is further off than that.
        let is_near = (thousandths - nearest).abs() < 1e-6;
        let is_share = is_near && (0.0..=f64::from(BUCKETS)).contains(&nearest);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let share = is_share.then_some(nearest as u32);
        Self(share)
    }

    fn number(thousandths: u32) -> f64 {
        f64::from(thousandths) / 1_000.0
    }
}

/// Makes a [`Percent`] of a number.
pub trait PercentExt {
    /// So many percent: 0 to 100, to three decimals.
    fn percent(self) -> Percent;
}

impl PercentExt for f64 {
    fn percent(self) -> Percent {
        Percent::of(self)
    }
}

// The one whole number: a literal has no other that it could be.
impl PercentExt for u32 {
    fn percent(self) -> Percent {
        Percent::of(f64::from(self))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(thousandths) => write!(f, "{}%", Self::number(thousandths)),
            None => f.write_str("no percentage"),
        }
    }
}

/// As the number of percent; whole numbers without a decimal point.
impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(thousandths) if thousandths.is_multiple_of(1_000) => {
                serializer.serialize_u32(thousandths / 1_000)
            }
            Some(thousandths) => serializer.serialize_f64(Self::number(thousandths)),
            None => Err(S::Error::custom(EXPECTED)),
        }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let percent = Self::of(f64::deserialize(deserializer)?);
        if percent.0.is_none() {
            return Err(D::Error::custom(EXPECTED));
        }
        Ok(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_decimals_are_exact_and_a_fourth_is_told() {
        for thousandths in 0..=BUCKETS {
            let percent = Percent::number(thousandths).percent();
            assert_eq!(percent.thousandths().ok(), Some(thousandths));
            let text = serde_json::to_string(&percent).unwrap();
            assert_eq!(serde_json::from_str::<Percent>(&text).unwrap(), percent, "{text}");
        }
        for number in [-0.001, 0.0001, 12.3456, 100.001, 1e300, f64::INFINITY, f64::NAN] {
            let percent = number.percent();
            assert!(percent.thousandths().is_err(), "{number}");
            assert!(percent.rest().thousandths().is_err(), "{number}");
            assert!(serde_json::to_string(&percent).is_err(), "{number}");
            assert_eq!(percent.to_string(), "no percentage");
        }
        assert!(serde_json::from_str::<Percent>("100.5").is_err());
        assert!(serde_json::from_str::<Percent>("\"10\"").is_err());
    }

    #[test]
    fn a_share_is_written_as_people_write_it() {
        for (percent, text) in
            [(10.percent(), "10"), (12.5.percent(), "12.5"), (0.001.percent(), "0.001")]
        {
            assert_eq!(serde_json::to_string(&percent).unwrap(), text);
            assert_eq!(percent.to_string(), format!("{text}%"));
        }
    }
}
