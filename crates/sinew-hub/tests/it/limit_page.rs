//! The pages of limits in a real browser.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use thirtyfour::prelude::*;

use crate::browser::{
    EVERY, WAIT, fill, in_a_browser, press, screenshot, seen, until_text, until_told, until_typed,
};
use crate::hub::{Hub, blocking};
use crate::world::start_chromedriver;

const SUBJECT: &str = "<script>document.title = 'taken over'</script>";

/// A hub at which a limit of three a day is defined.
async fn hub() -> Hub {
    let hub = blocking(|| Hub::serve(&[])).await;
    let put = define(&hub, 3).await;
    assert_eq!(put, StatusCode::CREATED);
    hub
}

async fn define(hub: &Hub, quota: u64) -> StatusCode {
    let url = format!("{}/v1/limits/calls", hub.url);
    let body = json!({ "quota": quota, "per": "24h" }).to_string();
    hub.send(Method::PUT, &url, None, Some(body)).await.status
}

async fn defined(hub: &Hub, name: &str) -> Value {
    hub.get(&format!("/v1/limits/{name}")).await.body
}

async fn check(hub: &Hub, subject: &str, tenant: Option<&str>) -> StatusCode {
    let url = format!("{}/v1/limits/check", hub.url);
    let body = json!({ "checks": [{ "limit": "calls", "subject": subject }] }).to_string();
    hub.send(Method::POST, &url, tenant, Some(body)).await.status
}

#[tokio::test]
async fn a_limit_is_found_and_watched() {
    let driver_server = blocking(start_chromedriver).await;
    let hub = hub().await;
    in_a_browser(&driver_server, move |driver| async move {
        driver.goto(format!("{}/", hub.url)).await?;
        press(&driver, "nav a[href='/limits']").await?;
        assert_eq!(driver.title().await?, "Limits · Sinew");
        until_told(&driver, "limits", "gcra").await?;
        until_told(&driver, "limits", "3 per 24h").await?;
        let link = "return document.getElementById('limit-calls').href";
        let link: String = driver.execute(link, vec![]).await?.convert()?;
        driver.goto(link).await?;
        assert_eq!(driver.title().await?, "calls · Sinew");
        until_text(&driver, "admitted-ever", "0").await?;

        for expected in [200, 200, 200, 429, 429] {
            assert_eq!(check(&hub, SUBJECT, Some("acme")).await, expected);
        }
        // Without a reload: the page itself asks.
        until_text(&driver, "admitted-ever", "3").await?;
        until_text(&driver, "denied-ever", "2").await?;
        let canvas = By::Css("#decisions[data-points] canvas");
        let canvas = driver.query(canvas).wait(WAIT, EVERY).first().await?;
        assert!(canvas.is_displayed().await?);

        // By itself, those of no tenant.
        assert!(seen(&driver, "#busiest p").await?.contains("None to show"));
        fill(&driver, "#look input[name=tenant]", "acme").await?;
        press(&driver, "#look button").await?;
        let row = seen(&driver, "#busiest tbody tr").await?;
        assert!(row.contains(SUBJECT) && row.contains("100.0 %"), "{row}");
        assert_eq!(driver.title().await?, "calls · Sinew", "no subject is run");
        screenshot(&driver, "limit.png").await?;

        driver.goto(format!("{}/limits", hub.url)).await?;
        until_told(&driver, "limits", "calls").await?;
        screenshot(&driver, "limits.png").await
    })
    .await;
}

#[tokio::test]
async fn a_limit_is_changed_after_a_second_thought() {
    let driver_server = blocking(start_chromedriver).await;
    let hub = hub().await;
    in_a_browser(&driver_server, move |driver| async move {
        driver.goto(format!("{}/limits/calls", hub.url)).await?;
        until_typed(&driver, "quota", "3").await?;
        fill(&driver, "#terms [name=quota]", "7").await?;
        fill(&driver, "#terms [name=burst]", "2").await?;
        press(&driver, "#change").await?;
        let question = seen(&driver, "#confirm-title").await?;
        assert!(question.contains("from 3 per 24h by gcra"), "{question}");
        assert!(question.contains("to 7 per 24h by gcra, at most 2 at once"), "{question}");
        let focus = driver.active_element().await?.id().await?;
        assert_eq!(focus.as_deref(), Some("keep"), "a key pressed too fast keeps it");
        press(&driver, "#keep").await?;
        until_typed(&driver, "quota", "3").await?;
        assert_eq!(defined(&hub, "calls").await["quota"], 3);

        fill(&driver, "#terms [name=quota]", "7").await?;
        press(&driver, "#change").await?;
        press(&driver, "#change-now").await?;
        until_told(&driver, "changed", "Limit calls is changed: 7 per 24h").await?;
        assert_eq!(defined(&hub, "calls").await["quota"], 7);
        // The form is of the new revision, and the change is told of.
        until_told(&driver, "changes", "dashboard").await?;
        until_told(&driver, "defined", "Revision 2").await?;
        screenshot(&driver, "limit_changed.png").await?;

        // Someone else is faster.
        fill(&driver, "#terms [name=quota]", "8").await?;
        press(&driver, "#change").await?;
        assert!(seen(&driver, "#confirm-title").await?.contains("to 8 per"));
        assert_eq!(define(&hub, 9).await, StatusCode::OK);
        press(&driver, "#change-now").await?;
        until_told(&driver, "said", "Someone else has changed it meanwhile").await?;
        until_typed(&driver, "quota", "9").await?;
        assert_eq!(defined(&hub, "calls").await["quota"], 9);

        // What cannot be is said beside the form, which stays as it was filled in.
        fill(&driver, "#terms [name=per]", "soon").await?;
        press(&driver, "#change").await?;
        until_told(&driver, "confirm", "expected a duration").await?;
        until_typed(&driver, "quota", "9").await?;
        assert!(hub.server.log().contains("a limit was changed on the dashboard"));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_limit_is_defined_on_its_page() {
    let driver_server = blocking(start_chromedriver).await;
    let hub = hub().await;
    in_a_browser(&driver_server, move |driver| async move {
        driver.goto(format!("{}/limits", hub.url)).await?;
        fill(&driver, "input[name=open]", "new-one").await?;
        press(&driver, "main > form button").await?;
        until_told(&driver, "defined", "Not defined").await?;
        assert_eq!(driver.title().await?, "new-one · Sinew");
        fill(&driver, "#terms [name=quota]", "5").await?;
        fill(&driver, "#terms [name=per]", "1m").await?;
        press(&driver, "#terms [name=shadow]").await?;
        press(&driver, "#change").await?;
        assert!(seen(&driver, "#confirm-title").await?.starts_with("Define limit new-one"));
        press(&driver, "#change-now").await?;
        until_told(&driver, "changed", "Limit new-one is defined: 5 per 1m").await?;
        let limit = defined(&hub, "new-one").await;
        assert_eq!((&limit["quota"], &limit["onDown"]), (&json!(5), &json!("local")));
        assert_eq!(limit["shadow"], true);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_pages_of_limits_take_what_they_sent_themselves_and_nothing_else() {
    let hub = hub().await;
    let terms = "algorithm=gcra&quota=7&per=1m&on_down=local";
    let change = format!("{}/limits/calls/definition?{terms}&revision=1", hub.url);
    let ours = [("hx-request", "true")];
    let forged = hub.send_with(Method::PUT, &change, &[], None).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN, "{}", forged.text);
    let posted = hub.send_with(Method::POST, &change, &ours, None).await;
    assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
    for revision in ["", "2"] {
        let late = format!("{}/limits/calls/definition?{terms}&revision={revision}", hub.url);
        let late = hub.send_with(Method::PUT, &late, &ours, None).await;
        assert!(late.text.contains("Someone else has changed it"), "{revision:?}: {}", late.text);
    }
    assert_eq!(defined(&hub, "calls").await["quota"], 3, "it is as it was");

    for (path, status) in [
        ("/limits", StatusCode::OK),
        ("/limits/unused", StatusCode::OK),
        ("/limits/unused/now", StatusCode::OK),
        ("/limits/a_b", StatusCode::BAD_REQUEST),
        ("/limits/a_b/now", StatusCode::BAD_REQUEST),
        ("/limits/a_b/events", StatusCode::BAD_REQUEST),
        ("/limits/calls/definition/change", StatusCode::BAD_REQUEST),
    ] {
        let reply = hub.get(path).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text);
        let is_refused = reply.text.contains("This page cannot be shown");
        assert_eq!(is_refused, status == StatusCode::BAD_REQUEST, "{path}: {}", reply.text);
        assert_eq!(is_refused, reply.text.contains("<title>Cannot be shown"), "{path}");
    }
    let opened = reqwest::get(format!("{}/limits?open=unused", hub.url)).await.unwrap();
    assert_eq!(opened.url().path(), "/limits/unused");
    let fault = hub.get("/limits?open=a%3Cb").await.text;
    assert!(fault.contains("expected 1 to 64") && !fault.contains("a<b"), "{fault}");

    let asked = "/limits/calls/definition/change";
    for (fragment, told) in [
        ("/limits/calls/definition".to_owned(), "Revision 1 in the store"),
        ("/limits/none/definition".to_owned(), "Not defined"),
        ("/limits/calls/busiest?tenant=a_b".to_owned(), "expected 1 to 64"),
        ("/limits/calls/busiest?tenant=other".to_owned(), "None to show"),
        ("/limits/calls/changes".to_owned(), "<td>http</td>"),
        ("/limits/none/changes".to_owned(), "No change is remembered"),
        ("/limits/none/now".to_owned(), "<dd id=\"admitted\">–</dd>"),
        (format!("{asked}?{terms}&revision=1"), "Change limit"),
        (format!("{asked}?{terms}&revision=x"), "expected a whole number"),
        (format!("{asked}?{terms}&burst=many"), "expected a whole number"),
        (format!("{asked}?{terms}&lease=many"), "expected a whole number"),
        (format!("{asked}?{terms}&lease=3"), "3 at a time to each process"),
        (format!("{asked}?algorithm=gcra&quota=1&per=soon&on_down=local"), "expected a duration"),
        (format!("{asked}?algorithm=guess&quota=1&per=1m&on_down=local"), "expected gcra"),
        (format!("{asked}?algorithm=gcra&quota=1&per=1m&on_down=maybe"), "expected open"),
        (format!("{asked}?algorithm=sliding-log&quota=1&per=1m&on_down=open&burst=1"), "only GCRA"),
        (format!("{asked}?algorithm=sliding-log&quota=1&per=1m&on_down=open"), "begins anew"),
    ] {
        let reply = hub.get(&fragment).await;
        assert_eq!(reply.status, StatusCode::OK, "{fragment}");
        assert!(
            reply.text.to_lowercase().contains(&told.to_lowercase()),
            "{fragment}: {}",
            reply.text
        );
    }
    let changed = hub.send_with(Method::PUT, &change, &ours, None).await;
    assert!(changed.text.contains("is changed"), "{}", changed.text);
    assert_eq!(changed.headers.get("hx-trigger").unwrap(), "limit-changed");
    let limit = defined(&hub, "calls").await;
    assert_eq!((&limit["quota"], &limit["revision"]), (&json!(7), &json!(2)));

    // The form has what there is, so that who changes something else keeps it.
    let leased = format!("{}/limits/calls/definition?{terms}&lease=3&revision=2", hub.url);
    assert!(hub.send_with(Method::PUT, &leased, &ours, None).await.text.contains("is changed"));
    assert_eq!(defined(&hub, "calls").await["lease"], 3);
    let form = hub.get("/limits/calls/definition").await.text;
    assert!(form.contains("name=\"lease\" value=\"3\""), "{form}");
}

#[tokio::test]
async fn what_was_decided_by_a_limit_that_is_no_more_is_still_shown() {
    let hub = hub().await;
    assert_eq!(check(&hub, "ada", None).await, StatusCode::OK);
    let listed = hub.get("/limits").await.text;
    assert!(listed.contains("<td>3 per 24h</td>") && listed.contains("<td>store</td>"), "{listed}");
    let url = format!("{}/v1/limits/calls", hub.url);
    assert_eq!(hub.send(Method::DELETE, &url, None, None).await.status, StatusCode::NO_CONTENT);

    let listed = hub.get("/limits").await.text;
    let (_, row) = listed.split_once("id=\"limit-calls\"").expect("a row");
    let (row, _) = row.split_once("</tr>").unwrap();
    assert!(row.ends_with("<td>1</td><td>0</td><td>0</td><td>0</td>"), "{row}");
    assert!(!row.contains("per 24h") && !row.contains("store"), "{row}");
    let form = hub.get("/limits/calls/definition").await.text;
    assert!(form.contains("Not defined, although this hub has decided by it"), "{form}");
}

#[tokio::test]
async fn a_subject_is_shown_without_what_cannot_be_seen() {
    let hub = hub().await;
    assert_eq!(check(&hub, "a\0b\n\u{1b}", None).await, StatusCode::OK);
    let busiest = hub.get("/limits/calls/busiest").await.text;
    assert!(busiest.contains("<code>a\\u{0}b\\n\\u{1b}</code>"), "{busiest}");
}
