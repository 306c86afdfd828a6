//! Flags: written by one, known to all, and what becomes of them when several write.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use serde_json::{Value, json};
use sinew::flag::{
    ChangeId, EvalContext, Expected, Flag, FlagChange, FlagType, Flags, FlagsState, PercentExt,
    Reason, Segment,
};
use sinew::{Error, ErrorKind, Sinew};

use crate::laws::eventually;

pub async fn open(sinew: &Sinew) -> Flags {
    sinew.flags().env("prod").open().await.expect("flags")
}

/// On for everyone, and off for one user.
pub fn for_all_but(user: &str) -> Flag {
    flag(json!({ "type": "bool", "default": "on", "users": { user: "off" } }))
}

pub fn flag(written: Value) -> Flag {
    serde_json::from_value(written).expect("a flag")
}

fn segment(plan: &str) -> Segment {
    let condition = json!({ "attribute": "plan", "op": "is", "values": [plan] });
    serde_json::from_value(json!({ "any": [[condition]] })).expect("a segment")
}

pub fn ada() -> EvalContext {
    EvalContext::user("ada")
}

fn kind(error: Error) -> ErrorKind {
    error.kind()
}

fn revision(flags: &Flags, key: &str) -> Option<u64> {
    flags.get(key).map(|flag| flag.revision)
}

/// Waits until a process knows a flag so, or not at all.
async fn knows(flags: &Flags, key: &str, flag: Option<&Flag>) {
    let is_known = || async { flags.get(key).as_deref() == flag };
    eventually("the other process knows it", is_known).await;
}

fn keys_of(changes: &[FlagChange]) -> Vec<(&str, &str)> {
    changes.iter().map(|change| (change.by.as_str(), change.key.as_str())).collect()
}

laws! {
    async fn what_is_written_is_known_here_at_once_and_soon_everywhere(store: Store) {
        let here = store.tenant("acme").await;
        let (one, twin) = (open(&here).await, open(&here).await);
        let other = open(&store.tenant("acme").await).await;
        assert!(!one.enabled("new-ui", &ada()) && one.enabled_or("new-ui", &ada(), true));
        assert_eq!((one.version(), one.state()), (0, FlagsState::Live));
        let before = other.revision();

        let written = one.put("new-ui", for_all_but("eve"), Expected::Any, "bob").await.unwrap();
        let after = written.after.unwrap();
        assert_eq!((written.before, written.revision), (None, after.revision));
        for flags in [&one, &twin] {
            assert!(flags.enabled("new-ui", &ada()));
            assert!(!flags.enabled("new-ui", &EvalContext::user("eve")));
            assert_eq!(flags.get("new-ui").as_deref(), Some(&after));
            assert_eq!(flags.version(), after.revision);
        }
        knows(&other, "new-ui", Some(&after)).await;
        assert_ne!(other.revision(), before);
        assert_eq!(other.revision(), one.revision());
        assert_eq!(other.list().into_iter().map(|(key, _)| key).collect::<Vec<_>>(), ["new-ui"]);

        let removed = other.remove("new-ui", Expected::Any, "eve").await.unwrap();
        assert_eq!((removed.before.as_ref(), removed.after), (Some(&after), None));
        assert!(removed.revision > after.revision);
        assert_eq!(other.get("new-ui"), None);
        knows(&one, "new-ui", None).await;
        let nothing = one.remove("new-ui", Expected::Any, "eve").await.unwrap();
        assert_eq!((nothing.revision, nothing.before, nothing.after), (0, None, None));
        // Whoever comes later knows all that is there.
        one.put("other", for_all_but("eve"), Expected::Any, "bob").await.unwrap();
        assert!(open(&store.tenant("acme").await).await.enabled("other", &ada()));
    }

    async fn tenants_and_environments_never_meet(store: Store) {
        let (acme, other) = (store.tenant("acme").await, store.tenant("other").await);
        let mine = open(&acme).await;
        mine.put("new-ui", for_all_but("eve"), Expected::Any, "bob").await.unwrap();
        let test = acme.flags().env("test").open().await.unwrap();
        for flags in [open(&other).await, open(&store.process().await).await, test] {
            assert!(!flags.enabled("new-ui", &ada()));
            assert!(flags.list().is_empty() && flags.history(None, 10).await.unwrap().is_empty());
            flags.put("new-ui", Flag::bool(), Expected::Absent, "eve").await.unwrap();
        }
        assert!(mine.enabled("new-ui", &ada()));
        assert_eq!(mine.history(None, 10).await.unwrap().len(), 1);
    }

    async fn a_flag_that_someone_else_has_changed_is_not_overwritten(store: Store) {
        let flags = open(&store.process().await).await;
        let conflicts = async |expected: Expected, told: &str| {
            let error = flags.put("new-ui", Flag::bool(), expected, "eve").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error:#}");
            assert!(error.to_string().contains(told), "{error}");
            let removed = flags.remove("new-ui", expected, "eve").await;
            assert_eq!(removed.map_err(kind), Err(ErrorKind::Conflict));
        };
        conflicts(Expected::Revision(1), "not defined: expected revision 1").await;
        let first = flags.put("new-ui", for_all_but("a"), Expected::Absent, "ada").await.unwrap();
        conflicts(Expected::Absent, "expected none").await;
        let expected = Expected::Revision(first.revision);
        let second = flags.put("new-ui", for_all_but("b"), expected, "ada").await.unwrap();
        assert!(second.revision > first.revision);
        assert_eq!(second.before, first.after);
        conflicts(expected, &format!("revision {}: expected", second.revision)).await;
        // Another flag's change leaves this one's revision as it is.
        flags.put("other", Flag::bool(), Expected::Absent, "ada").await.unwrap();
        assert_eq!(revision(&flags, "new-ui"), Some(second.revision));
        let last = Expected::Revision(second.revision);
        assert!(flags.remove("new-ui", last, "ada").await.unwrap().after.is_none());
        // What was removed and comes back is not what it was.
        let again = flags.put("new-ui", for_all_but("b"), Expected::Absent, "ada").await.unwrap();
        assert!(again.revision > second.revision);
        conflicts(last, "expected revision").await;
        assert_eq!(flags.history(Some("new-ui"), 10).await.unwrap().len(), 4);
    }

    async fn of_those_who_change_a_revision_at_the_same_time_one_does(store: Store) {
        let mut processes = Vec::new();
        for _ in 0..4 {
            processes.push(open(&store.process().await).await);
        }
        let begun = processes[0].put("new-ui", Flag::bool(), Expected::Any, "ada").await.unwrap();
        let expected = Expected::Revision(begun.revision);
        let edits = (0..24).map(|edit: usize| {
            let flags = processes[edit % 4].clone();
            let draft = for_all_but(&edit.to_string());
            tokio::spawn(async move { flags.put("new-ui", draft, expected, "ada").await })
        });
        let edits = join_all(edits).await.into_iter().map(Result::unwrap);
        let (made, refused): (Vec<_>, Vec<_>) = edits.partition(Result::is_ok);
        assert_eq!((made.len(), refused.len()), (1, 23));
        for error in refused.into_iter().filter_map(Result::err) {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error:#}");
        }
        let history = processes[0].history(None, 10).await.unwrap();
        assert_eq!(history.len(), 2);
        assert_eq!(history[0].after, made[0].as_ref().unwrap().after);
    }

    async fn of_those_who_change_different_flags_at_the_same_time_all_do(store: Store) {
        let writers = (0..3).map(|writer: u32| {
            let sinew = store.process();
            async move {
                let flags = open(&sinew.await).await;
                // No one has to try more than the other two write.
                for edit in 0..3 {
                    let edit = flags.edit(&format!("flag-{writer}-{edit}")).default("on");
                    edit.by("ada").save().await.unwrap();
                }
                flags
            }
        });
        for flags in join_all(writers).await {
            eventually("all are known", || async { flags.list().len() == 9 }).await;
            assert!(flags.list().iter().all(|(key, _)| flags.enabled(key, &ada())));
        }
    }

    async fn who_has_changed_what_is_told_from_the_newest_on(store: Store) {
        let flags = open(&store.process().await).await;
        assert!(flags.history(None, 10).await.unwrap().is_empty());
        // The clock of the store and ours may differ by something.
        let around = Duration::from_secs(60);
        let began = SystemTime::now() - around;
        let by = "ada \"the\" first\n";
        let first = flags.put("new-ui", for_all_but("x"), Expected::Any, by).await;
        flags.put_segment("beta", segment("pro"), "bob").await.unwrap();
        let second = flags.kill("new-ui", "éve").await.unwrap();
        flags.remove("new-ui", Expected::Any, "bob").await.unwrap();
        flags.remove_segment("beta", "eve").await.unwrap();
        let history = flags.history(None, 10).await.unwrap();
        let expected = [
            ("eve", "segment:beta"),
            ("bob", "new-ui"),
            ("éve", "new-ui"),
            ("bob", "segment:beta"),
            ("ada \"the\" first\n", "new-ui"),
        ];
        assert_eq!(keys_of(&history), expected);
        assert!(history.is_sorted_by(|newer, older| newer.at >= older.at));
        for change in &history {
            assert!((began..SystemTime::now() + around).contains(&change.at), "{:?}", change.at);
        }
        let of_one = flags.history(Some("new-ui"), 10).await.unwrap();
        let states: Vec<_> =
            of_one.iter().map(|it| (it.before.clone(), it.after.clone())).collect();
        let (first, second) = (first.unwrap().after, second.after);
        assert!(second.as_ref().is_some_and(|flag| flag.killed));
        assert_eq!(states, [(second.clone(), None), (first.clone(), second), (None, first)]);
        let segments = [&history[0], &history[3]].map(|it| it.segment.clone().unwrap());
        assert_eq!((&segments[0].before, &segments[0].after), (&Some(segment("pro")), &None));
        assert_eq!((&segments[1].before, &segments[1].after), (&None, &Some(segment("pro"))));
        assert_eq!(flags.history(None, 2).await.unwrap(), history[..2]);
        assert_eq!(flags.history(Some("new-ui"), 1).await.unwrap(), of_one[..1]);
        assert!(flags.history(None, 0).await.unwrap().is_empty());
        assert!(flags.history(Some("another"), 10).await.unwrap().is_empty());
    }

    async fn more_changes_than_are_read_at_a_time_are_told_in_order(store: Store) {
        let flags = open(&store.process().await).await;
        for number in 0..120 {
            let key = if number % 40 == 0 { "rare" } else { "often" };
            flags.edit(key).describe(number.to_string()).by("ada").save().await.unwrap();
        }
        let told = |changes: Vec<FlagChange>| -> Vec<u32> {
            let texts = changes.into_iter().map(|it| it.after.unwrap().description.unwrap());
            texts.map(|text| text.parse().unwrap()).collect()
        };
        let all = told(flags.history(None, usize::MAX).await.unwrap());
        assert_eq!(all, (0..120).rev().collect::<Vec<_>>());
        assert_eq!(told(flags.history(Some("rare"), 10).await.unwrap()), [80, 40, 0]);
        assert_eq!(told(flags.history(Some("rare"), 2).await.unwrap()), [80, 40]);
        assert_eq!(told(flags.history(None, 101).await.unwrap()), all[..101]);
    }

    async fn a_change_is_taken_back_whatever_came_after_it(store: Store) {
        let flags = open(&store.process().await).await;
        let change_of = async |nth: usize| {
            let history = flags.history(Some("new-ui"), 10).await.unwrap();
            history[nth].id.clone()
        };
        flags.put("new-ui", for_all_but("a"), Expected::Any, "ada").await.unwrap();
        let made = change_of(0).await;
        flags.put("new-ui", for_all_but("b"), Expected::Any, "ada").await.unwrap();
        let changed = change_of(0).await;
        flags.kill("new-ui", "eve").await.unwrap();

        let back = flags.roll_back("new-ui", &changed, Expected::Any, "bob").await.unwrap();
        let after = back.after.unwrap();
        assert_eq!((&after.users, after.killed), (&for_all_but("a").users, false));
        assert_eq!(flags.get("new-ui").as_deref(), Some(&after));
        // Someone else may have changed it while one looked at what it would be.
        for late in [Expected::Absent, Expected::Revision(after.revision - 1)] {
            let refused = flags.roll_back("new-ui", &made, late, "bob").await;
            assert_eq!(refused.map_err(kind), Err(ErrorKind::Conflict), "{late:?}");
        }
        let expected = Expected::Revision(after.revision);
        let removed = flags.roll_back("new-ui", &made, expected, "bob").await.unwrap();
        assert_eq!((removed.after, flags.get("new-ui")), (None, None));
        let history = flags.history(None, 10).await.unwrap();
        assert_eq!(history.len(), 5, "that is a change too");
        for told in &history {
            let past = flags.past_change("new-ui", &told.id).await.unwrap();
            assert_eq!(past.as_ref(), Some(told));
        }

        let unknown: ChangeId = "1-0".parse().unwrap();
        for (key, change) in [("new-ui", &unknown), ("other", &changed)] {
            assert_eq!(flags.past_change(key, change).await.unwrap(), None);
            let refused = flags.roll_back(key, change, Expected::Any, "bob").await;
            assert_eq!(refused.map_err(kind), Err(ErrorKind::Rejected), "{key}");
        }
    }

    async fn what_changes_nothing_is_not_written(store: Store) {
        let flags = open(&store.process().await).await;
        let first = flags.put("new-ui", for_all_but("eve"), Expected::Any, "ada").await.unwrap();
        let expected = Expected::Revision(first.revision);
        let again = flags.put("new-ui", for_all_but("eve"), expected, "bob").await.unwrap();
        assert_eq!((again.revision, &again.before), (first.revision, &first.after));
        flags.revive("new-ui", "bob").await.unwrap();
        flags.edit("new-ui").enabled(true).by("bob").save().await.unwrap();
        let segments = flags.put_segment("beta", segment("pro"), "ada").await.unwrap();
        assert_eq!(flags.put_segment("beta", segment("pro"), "bob").await.unwrap(), segments);
        let history = flags.history(None, 10).await.unwrap();
        assert_eq!(keys_of(&history), [("ada", "segment:beta"), ("ada", "new-ui")]);
    }

    async fn a_number_comes_out_as_it_went_in(store: Store) {
        let flags = open(&store.process().await).await;
        // A reader that rounds twice takes it for its neighbour, …66.
        let number = 23.308_445_025_757_262_f64;
        let draft = flag(json!({
            "type": "number", "variants": { "x": number }, "default": "x", "off": "x"
        }));
        flags.put("limit", draft, Expected::Any, "ada").await.unwrap();
        let late = open(&store.process().await).await;
        for flags in [&flags, &late] {
            let value: f64 = flags.evaluate("limit", &ada(), 0.0).value;
            assert_eq!(value.to_bits(), number.to_bits());
        }
    }

    async fn the_kill_switch_stands_above_all_and_is_taken_back(store: Store) {
        let flags = open(&store.process().await).await;
        assert_eq!(flags.kill("new-ui", "bob").await.map_err(kind), Err(ErrorKind::Conflict));
        flags.put("new-ui", for_all_but("eve"), Expected::Any, "ada").await.unwrap();
        let killed = flags.kill("new-ui", "bob").await.unwrap();
        assert!(!flags.enabled("new-ui", &ada()));
        assert_eq!(flags.evaluate("new-ui", &ada(), true).reason, Reason::Disabled);
        assert!(flags.kill("new-ui", "bob").await.unwrap().revision == killed.revision);
        flags.revive("new-ui", "bob").await.unwrap();
        assert!(flags.enabled("new-ui", &ada()));
        assert!(!flags.enabled("new-ui", &EvalContext::user("eve")), "as it was");
    }

    async fn a_definition_that_is_put_ends_no_emergency(store: Store) {
        let flags = open(&store.process().await).await;
        flags.put("new-ui", for_all_but("eve"), Expected::Any, "ada").await.unwrap();
        flags.kill("new-ui", "bob").await.unwrap();
        let put = flags.put("new-ui", for_all_but("cyd"), Expected::Any, "deploy").await.unwrap();
        let after = put.after.unwrap();
        assert_eq!((after.killed, &after.users), (true, &for_all_but("cyd").users));
        assert!(!flags.enabled("new-ui", &ada()));
        // By what it was before, it changes nothing.
        let again = flags.put("new-ui", for_all_but("cyd"), Expected::Any, "deploy").await;
        assert_eq!(again.unwrap().revision, put.revision);
        flags.revive("new-ui", "bob").await.unwrap();
        assert!(flags.enabled("new-ui", &ada()));
        // It may begin one.
        let mut killed = for_all_but("cyd");
        killed.killed = true;
        flags.put("new-ui", killed, Expected::Any, "deploy").await.unwrap();
        assert!(!flags.enabled("new-ui", &ada()));
    }

    async fn a_draft_is_seen_by_many_before_it_is_saved(store: Store) {
        let flags = open(&store.process().await).await;
        flags.put_segment("beta", segment("pro"), "ada").await.unwrap();
        let rules = json!([{ "if": [{ "segment": "beta" }], "then": "on" }]);
        let draft = flag(json!({ "type": "bool", "rules": rules }));
        let preview = flags.preview("new-ui", &draft);
        for (plan, value) in [("pro", true), ("free", false)] {
            let seen = preview.explain(&ada().with("plan", plan)).evaluation.unwrap();
            assert_eq!(seen.value, Some(json!(value)), "{plan}");
        }
        assert_eq!(flags.get("new-ui"), None);
        // Saved over a killed flag, it would be killed.
        flags.put("new-ui", draft.clone(), Expected::Absent, "ada").await.unwrap();
        flags.kill("new-ui", "bob").await.unwrap();
        let preview = flags.preview("new-ui", &draft);
        let seen = preview.explain(&ada().with("plan", "pro")).evaluation.unwrap();
        assert_eq!((seen.value, seen.reason), (Some(json!(false)), Reason::Disabled));
    }

    async fn an_edit_changes_what_it_says_and_leaves_the_rest(store: Store) {
        let flags = open(&store.process().await).await;
        let users: Vec<EvalContext> =
            (0..1_000).map(|user| EvalContext::user(user.to_string())).collect();
        let on = || -> Vec<bool> { users.iter().map(|cx| flags.enabled("new-ui", cx)).collect() };
        let share = |on: &[bool]| on.iter().filter(|on| **on).count();
        flags.edit("new-ui").rollout(10.percent()).owner("growth").by("bob").save().await.unwrap();
        let tenth = on();
        assert!((50..200).contains(&share(&tenth)), "{}", share(&tenth));
        let edit = flags.edit("new-ui").rollout(60.percent()).user("ada", "on");
        edit.tenant("acme", "off").describe("what it is about").by("eve").save().await.unwrap();
        let more = on();
        assert!((500..700).contains(&share(&more)), "{}", share(&more));
        assert!(tenth.iter().zip(&more).all(|(before, now)| *now || !*before), "who was in is");
        let found = flags.get("new-ui").unwrap();
        assert_eq!((found.owner.as_deref(), found.rules.len()), (Some("growth"), 1));
        assert!(flags.enabled("new-ui", &ada().tenant("acme")));
        assert!(!flags.enabled("new-ui", &EvalContext::user("x").tenant("acme")));
        let soon = SystemTime::now() + Duration::from_secs(3_600);
        flags.edit("new-ui").schedule(soon, None).by("eve").save().await.unwrap();
        assert!(!flags.enabled("new-ui", &ada()));
        flags.edit("new-ui").schedule(None, soon).expires(soon).by("eve").save().await.unwrap();
        assert!(flags.enabled("new-ui", &ada()));

        let text = flag(json!({
            "type": "string", "variants": { "a": "x", "b": "y" }, "default": "a", "off": "b"
        }));
        flags.put("algo", text, Expected::Any, "bob").await.unwrap();
        flags.edit("algo").default("b").by("bob").save().await.unwrap();
        assert_eq!(flags.evaluate("algo", &ada(), String::new()).value, "y");
        for edit in [
            flags.edit("algo").rollout(10.percent()).by("bob"),
            flags.edit("algo").default("c").by("bob"),
            flags.edit("new-ui").rollout(101.percent()).by("bob"),
            flags.edit("new-ui").enabled(false),
        ] {
            let told = format!("{edit:?}");
            assert_eq!(edit.save().await.map_err(kind), Err(ErrorKind::Rejected), "{told}");
        }
        assert_eq!(flags.history(None, 10).await.unwrap().len(), 6);
    }

    async fn what_cannot_be_is_not_written(store: Store) {
        let flags = open(&store.process().await).await;
        let unknown = json!([{ "if": [{ "segment": "beta" }], "then": "on" }]);
        let in_segment = flag(json!({ "type": "bool", "rules": unknown }));
        let mut bad = Flag::bool();
        bad.default = "maybe".to_owned();
        let mut never_off = Flag::bool();
        never_off.off = "on".to_owned();
        // Written, it would be more than any reader of JSON follows.
        let nested = (0..200).fold(Value::from(1), |inner, _| Value::Array(vec![inner]));
        let variants = [("deep".to_owned(), nested)];
        let deep = Flag::new(FlagType::Json, variants, "deep", "deep");
        let (long_key, long_by) = ("k".repeat(101), "é".repeat(129));
        for (key, draft, by) in [
            ("new-ui", &bad, "bob"),
            ("new-ui", &never_off, "bob"),
            ("...", &Flag::bool(), "bob"),
            ("new-ui", &in_segment, "bob"),
            ("new-ui", &deep, "bob"),
            ("new:ui", &Flag::bool(), "bob"),
            ("", &Flag::bool(), "bob"),
            (long_key.as_str(), &Flag::bool(), "bob"),
            ("new-ui", &Flag::bool(), ""),
            ("new-ui", &Flag::bool(), long_by.as_str()),
        ] {
            let refused = flags.put(key, draft.clone(), Expected::Any, by).await;
            assert_eq!(refused.map_err(kind), Err(ErrorKind::Rejected), "{key} {by}");
        }
        assert_eq!((flags.version(), flags.list().len()), (0, 0));
        assert!(flags.history(None, 10).await.unwrap().is_empty());

        let longest = "é".repeat(128);
        flags.put_segment("beta", segment("pro"), &longest).await.unwrap();
        flags.put("new-ui", in_segment, Expected::Any, "bob").await.unwrap();
        assert!(flags.enabled("new-ui", &ada().with("plan", "pro")));
        let in_use = flags.remove_segment("beta", "bob").await;
        assert_eq!(in_use.map_err(kind), Err(ErrorKind::Rejected));
        assert_eq!(flags.segments(), [("beta".to_owned(), segment("pro"))]);

        let sinew = store.process().await;
        for env in ["", "a b", "..", "{x}"] {
            let refused = sinew.flags().env(env).open().await;
            assert_eq!(refused.map(|_| ()).map_err(kind), Err(ErrorKind::Rejected), "{env}");
        }
        let refused = sinew.flags().overlay_prefix("").open().await;
        assert_eq!(refused.map(|_| ()).map_err(kind), Err(ErrorKind::Rejected));
    }

    async fn whoever_asks_is_told_of_every_change_until_no_one_watches(store: Store) {
        let flags = open(&store.process().await).await;
        let other = open(&store.process().await).await;
        let mut changes = other.changes();
        for round in 0..3 {
            let before = other.revision();
            flags.edit("new-ui").describe(round.to_string()).by("ada").save().await.unwrap();
            assert_eq!(changes.next().await, Some(()));
            eventually("another revision", || async { other.revision() != before }).await;
        }
        let also = other.clone();
        drop(other);
        flags.edit("new-ui").describe("once more").by("ada").save().await.unwrap();
        assert_eq!(changes.next().await, Some(()));
        drop(also);
        while changes.next().await.is_some() {}
    }

    async fn time_alone_ends_a_flag_and_is_told(store: Store) {
        let flags = open(&store.process().await).await;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs() + 2);
        let mut draft = for_all_but("eve");
        draft.off_at = Some(end);
        flags.put("new-ui", draft, Expected::Any, "ada").await.unwrap();
        let (mut changes, revision) = (flags.changes(), flags.revision());
        while flags.revision() == revision {
            assert_eq!(changes.next().await, Some(()));
        }
        assert!(SystemTime::now() >= end);
        assert!(!flags.enabled("new-ui", &ada()));
    }
}
