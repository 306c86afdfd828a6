use super::*;

fn ms(text: &str) -> u64 {
    u64::try_from(text.parse::<Timestamp>().unwrap().as_millisecond()).unwrap()
}

fn ticks(expression: &str, zone: &str, dst: Dst, after: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::cron(expression, zone, dst).unwrap();
    let (mut ticks, mut at) = (Vec::new(), ms(after));
    for _ in 0..count {
        at = schedule.next_ms(at).expect("another");
        ticks.push(Timestamp::from_millisecond(i64::try_from(at).unwrap()).unwrap().to_string());
    }
    ticks
}

#[test]
fn what_the_clock_skips_comes_as_soon_as_it_has_or_not_at_all() {
    // Berlin skips 02:00 to 03:00 on the 29th of March 2026, at 01:00 UTC.
    let of = |dst| ticks("30 2 * * *", "Europe/Berlin", dst, "2026-03-28T00:00:00Z", 3);
    let made_up = ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"];
    assert_eq!(
        (of(Dst::RunOnce), of(Dst::RunTwice)),
        (made_up.map(String::from).to_vec(), made_up.map(String::from).to_vec())
    );
    assert_eq!(
        of(Dst::Skip),
        ["2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"]
    );
    // Several that are skipped are made up for once, also where the next is right there.
    let of = ticks("0,30 2,3 * * *", "Europe/Berlin", Dst::RunOnce, "2026-03-29T00:00:00Z", 3);
    assert_eq!(of, ["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:00:00Z"]);
}

#[test]
fn what_the_clock_repeats_comes_once_unless_said() {
    // Berlin has 02:00 to 03:00 twice on the 25th of October 2026, from 00:00 UTC on.
    let of = |dst| ticks("30 2 * * *", "Europe/Berlin", dst, "2026-10-24T12:00:00Z", 3);
    assert_eq!(
        of(Dst::RunOnce),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z", "2026-10-27T01:30:00Z"]
    );
    assert_eq!(of(Dst::Skip), of(Dst::RunOnce));
    assert_eq!(of(Dst::RunTwice)[..2], ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]);
    // Asked in the hour that is repeated.
    let of = ticks("45 2 * * *", "Europe/Berlin", Dst::RunOnce, "2026-10-25T01:10:00Z", 1);
    assert_eq!(of, ["2026-10-26T01:45:00Z"]);
}

#[test]
fn what_goes_by_the_time_that_passes_minds_no_clock() {
    let hourly = |after| ticks("0 * * * *", "Europe/Berlin", Dst::RunOnce, after, 4);
    let fall = [
        "2026-10-24T23:00:00Z",
        "2026-10-25T00:00:00Z",
        "2026-10-25T01:00:00Z",
        "2026-10-25T02:00:00Z",
    ];
    assert_eq!(hourly("2026-10-24T22:30:00Z"), fall);
    let spring = [
        "2026-03-29T00:00:00Z",
        "2026-03-29T01:00:00Z",
        "2026-03-29T02:00:00Z",
        "2026-03-29T03:00:00Z",
    ];
    assert_eq!(hourly("2026-03-28T23:30:00Z"), spring);
}

#[test]
fn a_clock_may_be_put_by_half_an_hour() {
    // Lord Howe goes from +11 to +10:30 on the 5th of April 2026 at 15:00 UTC of the 4th: 01:30 to 02:00 is there twice.
    let zone = "Australia/Lord_Howe";
    let of = |dst| ticks("45 1 * * *", zone, dst, "2026-04-04T00:00:00Z", 2);
    assert_eq!(of(Dst::RunOnce), ["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"]);
    assert_eq!(of(Dst::RunTwice), ["2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z"]);
    // And back on the 4th of October: 02:00 to 02:30 is not there.
    let of = ticks("15 2 * * *", zone, Dst::RunOnce, "2026-10-03T00:00:00Z", 1);
    assert_eq!(of, ["2026-10-03T15:30:00Z"]);
}

#[test]
fn fields_mean_what_they_mean_elsewhere() {
    let of = |expression, after| ticks(expression, "UTC", Dst::RunOnce, after, 2);
    assert_eq!(
        of("*/20 9-10 * * MON-FRI", "2026-11-20T10:30:00Z"),
        ["2026-11-20T10:40:00Z", "2026-11-23T09:00:00Z"]
    );
    // Either day, where both are narrowed.
    assert_eq!(
        of("0 0 1 * 7", "2026-11-22T12:00:00Z"),
        ["2026-11-29T00:00:00Z", "2026-12-01T00:00:00Z"]
    );
    assert_eq!(
        of("0 0 29 feb *", "2026-11-22T12:00:00Z"),
        ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]
    );
    assert_eq!(
        of("15/20 0 0 * * *", "2026-11-22T12:00:00Z"),
        ["2026-11-23T00:00:15Z", "2026-11-23T00:00:35Z"]
    );
    assert_eq!(
        of("@weekly", "2026-11-22T00:00:00Z"),
        ["2026-11-29T00:00:00Z", "2026-12-06T00:00:00Z"]
    );
    for bad in [
        "",
        "* * * *",
        "60 * * * *",
        "* * 0 * *",
        "*/0 * * * *",
        "5-2 * * * *",
        "0 0 31 2 *",
        "a * * * *",
        "+1 * * * *",
        "* * * * * * *",
    ] {
        assert!(Schedule::cron(bad, "UTC", Dst::RunOnce).is_err(), "{bad}");
    }
    assert!(Schedule::cron("* * * * *", "Nowhere/Here", Dst::RunOnce).is_err());
}

#[test]
fn an_interval_counts_from_1970_so_that_all_agree() {
    let every = Schedule::every(Duration::from_secs(90)).unwrap();
    assert_eq!(
        (every.next_ms(0), every.next_ms(89_999), every.next_ms(90_000)),
        (Some(90_000), Some(90_000), Some(180_000))
    );
    assert!(Schedule::every(Duration::from_millis(999)).is_err());
}

/// Both changes of a year in three zones, against a look at every minute of it.
#[test]
fn the_ticks_of_a_year_are_the_stated_ones() {
    let begin = "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
    for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"] {
        let tz = TimeZone::get(zone).unwrap();
        for dst in [Dst::RunOnce, Dst::Skip, Dst::RunTwice] {
            let schedule = Schedule::cron("15,45 1,2,3 * * *", zone, dst).unwrap();
            let mut expected = Vec::new();
            let (mut newest, mut was): (Option<DateTime>, Option<DateTime>) = (None, None);
            for minute in 0..365 * 24 * 60 {
                let at = begin.checked_add(SignedDuration::from_mins(minute)).unwrap();
                let wall = tz.to_datetime(at);
                let is_meant = |wall: DateTime| {
                    (1..=3).contains(&wall.hour()) && matches!(wall.minute(), 15 | 45)
                };
                let is_repeated = newest.is_some_and(|newest| wall <= newest);
                let mut skipped =
                    was.map_or(wall, |was| was.checked_add(SignedDuration::from_mins(1)).unwrap());
                let mut has_skipped = false;
                while skipped < wall {
                    has_skipped |= is_meant(skipped);
                    skipped = skipped.checked_add(SignedDuration::from_mins(1)).unwrap();
                }
                let comes = is_meant(wall) && (!is_repeated || dst == Dst::RunTwice);
                if comes || has_skipped && dst != Dst::Skip {
                    expected.push(u64::try_from(at.as_millisecond()).unwrap());
                }
                (newest, was) = (newest.max(Some(wall)), Some(wall));
            }
            let mut at = u64::try_from(begin.as_millisecond()).unwrap() - 1;
            for expected in expected {
                at = schedule.next_ms(at).unwrap();
                assert_eq!(at, expected, "{zone} {dst:?}");
            }
        }
    }
}
