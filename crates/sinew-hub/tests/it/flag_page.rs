//! The pages of flags in a real browser.

use std::time::Instant;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use thirtyfour::prelude::*;

use crate::browser::{
    EVERY, WAIT, fill, in_a_browser, press, screenshot, seen, until, until_text, until_told,
    until_typed,
};
use crate::hub::{Hub, Reply, blocking};
use crate::world::{redis_cli, start_chromedriver, start_redis};

const PRO: &str = r#"[{"name": "pro users", "if": [{"attribute": "plan", "op": "in", "values": ["pro"]}], "then": "on"}]"#;
const OWNER: &str = "<script>document.title = 'taken over'</script>";

/// A hub at which a flag is off for everyone.
async fn hub() -> Hub {
    let hub = blocking(|| Hub::serve(&[])).await;
    let put = put(&hub, "new-ui", &flag()).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text);
    hub
}

fn flag() -> Value {
    json!({ "type": "bool", "default": "off", "off": "off", "owner": OWNER })
}

async fn put(hub: &Hub, key: &str, flag: &Value) -> Reply {
    let url = format!("{}/v1/flags/{key}", hub.url);
    hub.send(Method::PUT, &url, None, Some(flag.to_string())).await
}

async fn saved(hub: &Hub, key: &str) -> Value {
    hub.get(&format!("/v1/flags/{key}")).await.body
}

async fn audit(hub: &Hub, key: &str) -> Vec<Value> {
    let reply = hub.get(&format!("/v1/audit?kind=flag&key={key}")).await;
    reply.body.as_array().expect("changes").clone()
}

/// Waits until the page's row of somebody who was typed reads like this.
async fn until_sample(driver: &WebDriver, nth: usize, told: [&str; 2]) -> WebDriverResult<()> {
    let cells =
        format!("document.querySelectorAll('#preview tr.sample')[{nth}]?.querySelectorAll('td')");
    let read =
        format!("[...({cells} ?? [])].slice(0, 2).map((cell) => cell.textContent).join('|')");
    until(driver, &read, |found| found == told.join("|")).await
}

#[tokio::test]
async fn a_flag_is_previewed_saved_and_rolled_back_and_the_audit_has_it_all() {
    let driver_server = blocking(start_chromedriver).await;
    let hub = hub().await;
    in_a_browser(&driver_server, move |driver| async move {
        driver.goto(format!("{}/", hub.url)).await?;
        press(&driver, "nav a[href='/flags']").await?;
        assert_eq!(driver.title().await?, "Flags · Sinew");
        let row = seen(&driver, "#flags tbody tr").await?;
        assert!(row.contains("new-ui") && row.contains(OWNER), "{row}");
        press(&driver, "#flag-new-ui").await?;
        until_told(&driver, "standing", "off by default").await?;
        assert_eq!(driver.title().await?, "new-ui · Sinew", "no owner is run");

        // Who would see what, while nothing is saved.
        fill(&driver, "#samples [name=samples]", "ada plan=pro\nbob").await?;
        until_sample(&driver, 0, ["off", "off"]).await?;
        fill(&driver, "#terms [name=rules]", PRO).await?;
        until_sample(&driver, 0, ["off", "on"]).await?;
        until_sample(&driver, 1, ["off", "off"]).await?;
        until_told(&driver, "preview", "rule 1 (pro users)").await?;
        assert_eq!(saved(&hub, "new-ui").await["rules"], json!([]));
        screenshot(&driver, "flag.png").await?;

        press(&driver, "#change").await?;
        let question = seen(&driver, "#confirm-title").await?;
        assert!(question.starts_with("Change flag new-ui?"), "{question}");
        until_told(&driver, "said", "pro users: if plan in pro: on").await?;
        let focus = driver.active_element().await?.id().await?;
        assert_eq!(focus.as_deref(), Some("keep"), "a key pressed too fast saves nothing");
        press(&driver, "#keep").await?;
        until(&driver, "document.querySelectorAll('#said .confirm').length", |n| n == "0").await?;
        let kept = "document.querySelector('#terms [name=rules]').value";
        until(&driver, kept, |rules| rules == PRO).await?;
        press(&driver, "#change").await?;
        press(&driver, "#change-now").await?;
        until_told(&driver, "saved", "Flag new-ui is changed").await?;
        assert_eq!(saved(&hub, "new-ui").await["rules"][0]["name"], "pro users");
        until_told(&driver, "standing", "1 rule before").await?;
        until_sample(&driver, 0, ["on", "on"]).await?;

        // The newest change, taken back.
        until_told(&driver, "changes", "dashboard").await?;
        let back = "document.querySelector('#changes tbody button').click()";
        driver.execute(back, vec![]).await?;
        let question = seen(&driver, "#confirm-title").await?;
        assert!(question.starts_with("Make flag new-ui what it was before"), "{question}");
        press(&driver, "#back-now").await?;
        until_told(&driver, "saved", "Flag new-ui is rolled back").await?;
        assert_eq!(saved(&hub, "new-ui").await["rules"], json!([]));
        until_sample(&driver, 0, ["off", "off"]).await?;
        let rows = "document.querySelectorAll('#changes tbody tr').length";
        until(&driver, rows, |rows| rows == "3").await?;
        screenshot(&driver, "flag_rolled_back.png").await?;

        let changes = audit(&hub, "new-ui").await;
        assert_eq!(changes.len(), 3, "{changes:?}");
        let by: Vec<&Value> = changes.iter().map(|change| &change["by"]).collect();
        assert_eq!(by, ["dashboard", "dashboard", "http"]);
        assert_eq!(changes[1]["after"]["rules"][0]["name"], "pro users");
        assert_eq!(changes[0]["before"]["rules"], changes[1]["after"]["rules"]);
        assert_eq!(changes[0]["after"]["rules"], json!([]));
        let log = hub.server.log();
        assert!(log.contains("a flag was changed on the dashboard"), "{log}");
        assert!(log.contains("a flag was rolled back on the dashboard"), "{log}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_rollout_is_seen_before_it_is_saved_and_what_is_wrong_is_said_at_its_field() {
    let driver_server = blocking(start_chromedriver).await;
    let hub = hub().await;
    in_a_browser(&driver_server, move |driver| async move {
        driver.goto(format!("{}/flags/new-ui", hub.url)).await?;
        until_told(&driver, "shares", "100.0 %").await?;
        // By keyboard: the slider moves the number beside it.
        let slider = driver.find(By::Id("rollout-slider")).await?;
        slider.send_keys(Key::End).await?;
        until_typed(&driver, "rollout", "100").await?;
        fill(&driver, "#rollout", "30.125").await?;
        until(&driver, "document.getElementById('rollout-slider').value", |at| at == "30.125").await?;
        let on = "[...document.querySelectorAll('#shares tbody tr')].find((row) => row.cells[0].textContent === 'on')?.cells[2].textContent";
        until(&driver, on, |share| {
            share.trim_end_matches(" %").parse::<f64>().is_ok_and(|share| (25.0..35.0).contains(&share))
        })
        .await?;

        fill(&driver, "#terms [name=rules]", r#"[{"if": [], "then": "blue"}]"#).await?;
        until_told(&driver, "fault-rules", "expected a variant").await?;
        fill(&driver, "#terms [name=off_at]", "soon").await?;
        until_told(&driver, "fault-off_at", "expected one in UTC").await?;
        press(&driver, "#change").await?;
        until_told(&driver, "said", "It cannot be saved like that").await?;
        screenshot(&driver, "flag_wrong.png").await?;
        fill(&driver, "#terms [name=rules]", PRO).await?;
        fill(&driver, "#terms [name=off_at]", "7d").await?;
        until_text(&driver, "fault-off_at", "").await?;
        until_text(&driver, "fault-rules", "").await?;

        press(&driver, "#change").await?;
        press(&driver, "#change-now").await?;
        until_told(&driver, "saved", "Flag new-ui is changed").await?;
        let flag = saved(&hub, "new-ui").await;
        assert_eq!(flag["rules"][0]["name"], "pro users");
        assert_eq!(flag["rules"][1]["split"], json!({ "on": 30.125, "off": 69.875 }));
        assert!(flag["off_at"].is_string(), "{flag}");
        until_typed(&driver, "rollout", "30.125").await?;
        let standing = "document.getElementById('standing')?.textContent";
        let told = "30.125 % on, 1 rule before, until ";
        until(&driver, standing, |standing| standing.contains(told)).await
    })
    .await;
}

#[tokio::test]
async fn who_was_not_fast_enough_keeps_what_was_typed_and_sees_what_was_changed() {
    let driver_server = blocking(start_chromedriver).await;
    let hub = hub().await;
    in_a_browser(&driver_server, move |driver| async move {
        driver.goto(format!("{}/flags/new-ui", hub.url)).await?;
        fill(&driver, "#terms [name=description]", "typed here").await?;
        fill(&driver, "#terms [name=owner]", "growth").await?;
        press(&driver, "#change").await?;
        assert!(seen(&driver, "#confirm-title").await?.starts_with("Change flag new-ui?"));

        // Someone else is faster, and the page hears of it.
        let mut theirs = flag();
        theirs["owner"] = json!("payments");
        theirs["default"] = json!("on");
        assert_eq!(put(&hub, "new-ui", &theirs).await.status, StatusCode::OK);
        until_told(&driver, "news", "changed by http").await?;
        until_told(&driver, "news", "payments").await?;
        until_typed(&driver, "description", "typed here").await?;

        press(&driver, "#change-now").await?;
        until_told(&driver, "conflict", "Someone else has changed this flag meanwhile: http")
            .await?;
        until_told(&driver, "conflict", "You both have changed owner").await?;
        assert_eq!(saved(&hub, "new-ui").await["description"], Value::Null, "nothing was saved");
        // Theirs where only they have changed it, and what was typed where both have.
        until_typed(&driver, "default", "on").await?;
        until_typed(&driver, "description", "typed here").await?;
        until_typed(&driver, "owner", "growth").await?;
        until(&driver, "document.getElementById('news').textContent.trim()", str::is_empty).await?;
        screenshot(&driver, "flag_conflict.png").await?;

        press(&driver, "#change").await?;
        press(&driver, "#change-now").await?;
        until_told(&driver, "saved", "Flag new-ui is changed").await?;
        let flag = saved(&hub, "new-ui").await;
        assert_eq!((&flag["owner"], &flag["default"]), (&json!("growth"), &json!("on")));
        assert_eq!(flag["description"], "typed here");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_flag_is_defined_killed_and_revived_and_the_list_hears_of_it() {
    let driver_server = blocking(start_chromedriver).await;
    let hub = hub().await;
    in_a_browser(&driver_server, move |driver| async move {
        driver.goto(format!("{}/flags", hub.url)).await?;
        fill(&driver, "input[name=open]", "dark-mode").await?;
        press(&driver, "main > form:last-of-type button").await?;
        until_told(&driver, "standing", "Not defined").await?;
        fill(&driver, "#terms [name=default]", "on").await?;
        press(&driver, "#change").await?;
        assert!(seen(&driver, "#confirm-title").await?.starts_with("Define flag dark-mode?"));
        press(&driver, "#change-now").await?;
        until_told(&driver, "saved", "Flag dark-mode is defined").await?;
        until_told(&driver, "standing", "Now: on").await?;

        press(&driver, "#kill").await?;
        assert!(seen(&driver, "#confirm-title").await?.starts_with("Kill flag dark-mode?"));
        press(&driver, "#kill-now").await?;
        until_told(&driver, "saved", "Flag dark-mode is killed").await?;
        assert_eq!(saved(&hub, "dark-mode").await["killed"], true);
        until_told(&driver, "standing", "Now: killed").await?;
        press(&driver, "#revive").await?;
        press(&driver, "#revive-now").await?;
        until_told(&driver, "saved", "Flag dark-mode is revived").await?;
        until_told(&driver, "standing", "Now: on").await?;

        // Without a reload: the page is told.
        driver.goto(format!("{}/flags", hub.url)).await?;
        until_told(&driver, "flags", "dark-mode").await?;
        let killed = format!("{}/v1/flags/dark-mode/kill", hub.url);
        hub.send(Method::POST, &killed, None, None).await;
        until_told(&driver, "flags", "killed").await?;
        fill(&driver, "#ask [name=q]", "DARK").await?;
        until(&driver, "document.querySelectorAll('#flags tbody tr').length", |rows| rows == "1")
            .await?;
        screenshot(&driver, "flags.png").await?;

        // A stream that is refused is asked for again: a browser by itself would not.
        let count = "const Before = EventSource; window.asked = 0; window.EventSource = class extends Before { constructor(url) { super(url); window.asked += 1; } };";
        let refused = format!("{count} listen('/none', {{}});");
        driver.execute(refused.as_str(), vec![]).await?;
        until(&driver, "window.asked", |asked| asked.parse::<u32>().is_ok_and(|n| n > 1)).await
    })
    .await;
}

#[tokio::test]
async fn plain_keys_stand_beside_flags_with_their_time_left() {
    let redis = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", redis.port);
    let hub = blocking(move || {
        Hub::serve(&["--store", &store, "--prefix", "shop_", "--tenancy", "single"])
    })
    .await;
    hub.until("ready").await;
    assert_eq!(put(&hub, "new-ui", &flag()).await.status, StatusCode::CREATED);
    let port = redis.port;
    blocking(move || {
        redis_cli(port, &["SET", "shop_feature:new-ui:user:ada", "True", "EX", "3600"]);
        redis_cli(port, &["SET", "shop_feature:<b>:global", "false"]);
    })
    .await;
    let began = Instant::now();
    let list = loop {
        let list = hub.get("/flags").await.text;
        if list.matches("class=\"overlay\"").count() == 2 {
            break list;
        }
        assert!(began.elapsed() < WAIT, "{list}");
        tokio::time::sleep(EVERY).await;
    };
    assert!(list.contains("<td>user ada</td><td>true</td><td>59 min"), "{list}");
    assert!(list.contains("<td>everyone</td><td>false</td><td>for good</td>"), "{list}");
    assert!(!list.contains("<b>"), "{list}");
    let found = hub.get("/flags?q=ADA").await.text;
    assert_eq!(found.matches("class=\"overlay\"").count(), 1, "{found}");
    let page = hub.get("/flags/new-ui").await.text;
    assert!(page.contains("user ada") && !page.contains("everyone"), "{page}");

    // It counts before rules do, and the preview says so.
    let preview = format!("{}/flags/new-ui/preview", hub.url);
    let form = "type=bool&default=off&off=off&enabled=true&samples=ada%0Abob";
    let preview = post(&hub, Method::POST, &preview, form).await.text;
    assert!(preview.contains("a plain key of the user"), "{preview}");
}

async fn post(hub: &Hub, method: Method, url: &str, form: &str) -> Reply {
    let kind = ("content-type", "application/x-www-form-urlencoded");
    hub.send_with(method, url, &[kind, ("hx-request", "true")], Some(form.to_owned())).await
}

#[tokio::test]
async fn the_pages_of_flags_take_what_they_sent_themselves_and_nothing_else() {
    let hub = hub().await;
    let revision = saved(&hub, "new-ui").await["revision"].clone();
    let at = |part: &str| format!("{}/flags/new-ui/{part}", hub.url);
    let form = ("content-type", "application/x-www-form-urlencoded");
    let definition = format!("revision={revision}&flag=%7B%22type%22%3A%22bool%22%7D");
    let rollback = format!("revision={revision}&change=0-0");
    for (method, part, body) in [
        (Method::PUT, "definition", Some(definition.clone())),
        (Method::PUT, "roll-back", Some(rollback.clone())),
        (Method::PUT, "kill", None),
        (Method::DELETE, "kill", None),
    ] {
        let forged = hub.send_with(method, &at(part), &[form], body).await;
        assert_eq!(forged.status, StatusCode::FORBIDDEN, "{part}: {}", forged.text);
    }
    assert_eq!(audit(&hub, "new-ui").await.len(), 1, "it is as it was");

    for revision in ["", "7"] {
        let late = format!("revision={revision}&flag=%7B%22type%22%3A%22bool%22%7D");
        let late = post(&hub, Method::PUT, &at("definition"), &late).await;
        assert!(late.text.contains("Someone else has changed this flag"), "{}", late.text);
    }
    for (part, body, told) in [
        ("definition", "flag=%7B", "The form is not complete"),
        ("definition", "revision=x&flag=%7B%22type%22%3A%22bool%22%7D", "The form is not complete"),
        ("roll-back", rollback.as_str(), "no longer remembered"),
    ] {
        let refused = post(&hub, Method::PUT, &at(part), body).await;
        assert_eq!(refused.status, StatusCode::OK, "{part}");
        assert!(refused.text.contains(told), "{part}: {}", refused.text);
    }
    assert_eq!(audit(&hub, "new-ui").await.len(), 1, "it is as it was");

    for (path, status) in [
        ("/flags", StatusCode::OK),
        ("/flags?tenant=acme&env=prod", StatusCode::OK),
        ("/flags?tenant=a_b", StatusCode::BAD_REQUEST),
        ("/flags?env=a_b", StatusCode::BAD_REQUEST),
        ("/flags/unused", StatusCode::OK),
        ("/flags/events", StatusCode::OK),
        ("/flags/a%20b", StatusCode::BAD_REQUEST),
        ("/flags/a%20b/editor", StatusCode::BAD_REQUEST),
    ] {
        let reply = hub.get(path).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text);
        let is_refused = reply.text.contains("This page cannot be shown");
        assert_eq!(is_refused, status == StatusCode::BAD_REQUEST, "{path}: {}", reply.text);
    }
    let opened = reqwest::get(format!("{}/flags?open=unused", hub.url)).await.unwrap();
    assert_eq!(opened.url().path(), "/flags/unused");
    let fault = hub.get("/flags?open=a%3Cb").await.text;
    assert!(fault.contains("Expected 1 to 100") && !fault.contains("a<b"), "{fault}");

    let shown = format!("/flags/new-ui/news?revision={revision}");
    for (fragment, told) in [
        ("/flags/new-ui/editor", "off by default"),
        ("/flags/none/editor", "Not defined"),
        ("/flags/new-ui/changes", "<td>http</td>"),
        ("/flags/none/changes", "No change is remembered"),
        ("/flags/new-ui/kill", "Kill flag"),
        ("/flags/none/kill", "There is no such flag"),
        ("/flags/new-ui/news?revision=7", "no longer what the form"),
        ("/flags/new-ui/roll-back?change=0-0", "no longer remembered"),
        (shown.as_str(), ""),
    ] {
        let reply = hub.get(fragment).await;
        assert_eq!(reply.status, StatusCode::OK, "{fragment}");
        assert!(reply.text.contains(told), "{fragment}: {}", reply.text);
        assert!(!reply.text.contains("<script>document"), "{fragment}: {}", reply.text);
    }
    assert!(!hub.get(&shown).await.text.contains("no longer"));

    let draft = "type=bool&default=off&off=off&enabled=true";
    let tenants: Vec<String> = (0..2_000).map(|n| format!("%22tenant-{n}%22:%22on%22")).collect();
    let large = format!("{draft}&tenants=%7B{}%7D", tenants.join(","));
    // Of a large one, as many as there is time for.
    for (draft, crowd) in [(draft, ">1000 made-up ids."), (large.as_str(), " made-up ids.")] {
        let preview = post(&hub, Method::POST, &at("preview"), draft).await.text;
        assert!(preview.contains(&format!("{crowd}</caption>")), "{preview}");
        assert!(preview.contains("<td>100.0 %</td>"), "{preview}");
    }

    let saved_now = post(&hub, Method::PUT, &at("definition"), &definition).await;
    assert!(saved_now.text.contains("is changed"), "{}", saved_now.text);
    assert_eq!(saved_now.headers.get("hx-trigger").unwrap(), "flag-saved");
    assert_eq!(saved(&hub, "new-ui").await["owner"], Value::Null);
    let change = audit(&hub, "new-ui").await[0]["id"].clone();
    let change = change.as_str().expect("an id");
    // What has come since would be lost.
    let late = format!("revision={revision}&change={change}");
    let late = post(&hub, Method::PUT, &at("roll-back"), &late).await;
    assert!(late.text.contains("Someone else has changed it meanwhile"), "{}", late.text);
    let told = late.headers.get("hx-trigger").unwrap();
    assert_eq!(told, "flags-changed", "nothing was saved: what is typed stays in the form");
    let confirm = hub.get(&format!("/flags/new-ui/roll-back?change={change}")).await.text;
    assert!(confirm.contains("what it was before the change of"), "{confirm}");
}

#[tokio::test]
async fn a_draft_that_takes_long_to_evaluate_is_evaluated_for_fewer() {
    let hub = hub().await;
    let values = vec!["\"aba\""; 9_200].join(",");
    let rule = format!(
        "{{\"if\":[{{\"attribute\":\"x\",\"op\":\"contains\",\"values\":[{values}]}}],\"then\":\"on\"}}"
    );
    let rules = [rule.as_str(); 3].join(",");
    let (url, long) = (format!("{}/flags/new-ui/preview", hub.url), "a".repeat(4_000));
    let draft = format!("type=bool&default=off&off=off&enabled=true&rules=[{rules}]&crowd=x=");
    let preview = post(&hub, Method::POST, &url, &format!("{draft}{long}")).await;
    let (before, _) = preview.text.split_once(" made-up ids.</caption>").expect("a crowd");
    let crowd_len = before.rsplit('>').next().unwrap().parse::<u32>().unwrap();
    assert!((1..1_000).contains(&crowd_len), "{crowd_len}");
    assert!(preview.text.contains("<td>100.0 %</td>"), "{}", preview.text);

    let longer = post(&hub, Method::POST, &url, &format!("{draft}{long}{long}")).await.text;
    assert!(longer.contains("expected at most 4096 bytes"), "{longer}");
    assert!(!longer.contains("made-up ids."), "{longer}");
}

#[tokio::test]
async fn no_page_of_another_site_kills_a_flag_and_the_log_says_whose_it_is() {
    let hub = hub().await;
    let url = format!("{}/v1/flags/new-ui?env=prod", hub.url);
    let made = hub.send(Method::PUT, &url, Some("acme"), Some(flag().to_string())).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let kill = format!("{}/flags/new-ui/kill?tenant=acme&env=prod", hub.url);
    let own = hub.url.clone();
    for (origin, status) in [("http://evil.example", 403), ("null", 403), (own.as_str(), 200)] {
        for method in [Method::PUT, Method::DELETE] {
            let headers = [("hx-request", "true"), ("origin", origin)];
            let reply = hub.send_with(method, &kill, &headers, None).await;
            assert_eq!(reply.status.as_u16(), status, "{origin}: {}", reply.text);
        }
    }
    let log = hub.server.log();
    for told in ["a flag was changed over HTTP", "a flag was killed on the dashboard"] {
        let parts = [told, "tenant", "acme", "env", "prod"];
        let is_told = log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(is_told, "{told}: {log}");
    }
}
