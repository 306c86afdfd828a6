//! The pages of streams in a real browser.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use thirtyfour::prelude::*;

use crate::browser::{EVERY, WAIT, in_a_browser, press, screenshot, seen, until};
use crate::hub::{Hub, blocking, call};
use crate::world::start_chromedriver;

const DATA: &str = "<script>document.title = 'taken over'</script>";

#[tokio::test]
async fn a_topic_its_group_and_an_event_are_found() {
    let driver_server = blocking(start_chromedriver).await;
    let hub = blocking(|| Hub::serve(&[])).await;
    let body = json!({ "type": "OrderPlaced", "data": { "note": DATA } });
    let reply = call(&hub, Method::POST, "/streams/orders", &[], Some(body)).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.text);
    let place = reply.body["events"][0]["place"].as_str().unwrap().to_owned();
    let pull = "/streams/orders/groups/billing/pull";
    let reply = call(&hub, Method::POST, pull, &[], Some(json!({ "max": 1 }))).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    in_a_browser(&driver_server, move |driver| async move {
        driver.goto(format!("{}/", hub.url)).await?;
        press(&driver, "nav a[href='/streams']").await?;
        assert_eq!(driver.title().await?, "Streams · Sinew");
        press(&driver, "#topics tbody a[href='/streams/orders']").await?;
        assert!(seen(&driver, "#groups").await?.contains("billing"));
        driver.find(By::Css("#look input[name=place]")).await?.send_keys(&place).await?;
        press(&driver, "#look button").await?;
        assert!(seen(&driver, "#data").await?.contains(DATA), "data is text");
        assert_eq!(driver.title().await?, "orders · Sinew", "no data is run");
        screenshot(&driver, "stream.png").await?;
        let canvas = driver.query(By::Css("#lag-billing[data-points] canvas"));
        canvas.wait(WAIT, EVERY).first().await?;
        // Who comes back finds what was seen before.
        driver.refresh().await?;
        let points = "document.getElementById('lag-billing')?.dataset.points";
        until(&driver, points, |points| points.parse().is_ok_and(|points: u32| points > 2)).await?;
        press(&driver, "#groups a").await?;
        assert!(seen(&driver, "#consumers").await?.contains("pull-"));
        driver.goto(format!("{}/streams/orders/groups/billing/dead", hub.url)).await?;
        assert_eq!(seen(&driver, "#none").await?, "billing has given up nothing.");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn all_letters_are_meant_only_where_that_is_said_and_the_audit_tells_which() {
    let hub = blocking(|| Hub::serve(&[])).await;
    for n in 0..3 {
        let body = Some(json!({ "data": n }));
        let reply = call(&hub, Method::POST, "/streams/orders", &[], body).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.text);
    }
    let group = "/streams/orders/groups/billing";
    let lease = Some(json!({ "max": 10, "lease": "30s" }));
    let pulled = call(&hub, Method::POST, &format!("{group}/pull"), &[], lease).await;
    let events = pulled.body["events"].as_array().unwrap().iter();
    let dead = events.map(|it| json!({ "place": it["place"], "dead": true, "error": "lost" }));
    let nack = json!({ "lease": pulled.body["lease"], "places": dead.collect::<Vec<_>>() });
    let nacked = call(&hub, Method::POST, &format!("{group}/nack"), &[], Some(nack)).await;
    assert_eq!(nacked.status, StatusCode::OK, "{}", nacked.text);
    let listed = call(&hub, Method::GET, &format!("{group}/dead"), &[], None).await;
    let place = listed.body["letters"][0]["place"].as_str().unwrap().to_owned();

    let ask = async |method: Method, path: &str| {
        let url = format!("{}/streams/orders/groups/{path}", hub.url);
        hub.send_with(method, &url, &[("hx-request", "true")], None).await
    };
    let both = format!("billing/dead/remove?all=true&place={place}");
    for path in ["billing/dead/remove", "billing/dead/remove?place=", both.as_str()] {
        let unsaid = ask(Method::DELETE, path).await;
        assert_eq!(unsaid.status, StatusCode::BAD_REQUEST, "{}", unsaid.text);
    }
    let unsaid = ask(Method::PUT, "billing/dead/redrive").await;
    assert_eq!(unsaid.status, StatusCode::BAD_REQUEST, "{}", unsaid.text);
    let unknown = ask(Method::DELETE, "nobody/dead/remove?all=true").await;
    assert!(unknown.text.contains("There is no such group"), "{}", unknown.text);
    // What the buttons lead to says it.
    let page = ask(Method::GET, "billing/dead/letters").await;
    assert!(page.text.contains("all&#34;:true"), "{}", page.text);
    let confirm = ask(Method::GET, "billing/dead/remove?tenant=&all=true").await;
    assert!(confirm.text.contains("all=true"), "{}", confirm.text);

    let one = ask(Method::PUT, &format!("billing/dead/redrive?place={place}")).await;
    assert!(one.text.contains("Redriven: 1."), "{}", one.text);
    let all = ask(Method::DELETE, "billing/dead/remove?all=true").await;
    assert!(all.text.contains("Removed: 2."), "{}", all.text);
    let audit = call(&hub, Method::GET, "/audit?kind=stream", &[], None).await;
    let acts = audit.body.as_array().unwrap().iter().map(|act| {
        let data = &act["data"];
        json!([act["type"], data["what"]["places"], data["what"]["all"], data["before"]])
    });
    let expected = json!([
        ["drop-dead", null, true, { "dead": 2 }],
        ["redrive", [place], false, { "dead": 3 }],
    ]);
    assert_eq!(acts.collect::<Value>(), expected, "{}", audit.text);
    let unknown = ask(Method::DELETE, "nobody/forget").await;
    assert!(unknown.text.contains("has no group"), "{}", unknown.text);
    ask(Method::DELETE, "billing/forget").await;
    let audit = call(&hub, Method::GET, "/audit?kind=stream", &[], None).await;
    assert_eq!(audit.body.as_array().map(Vec::len), Some(3), "{}", audit.text);
    let data = &audit.body[0]["data"];
    let told = json!([data["what"]["by"], data["what"]["force"], data["before"]["group"]]);
    assert_eq!(told, json!(["dashboard", true, "billing"]), "{}", audit.text);
}

#[tokio::test]
async fn a_name_that_would_lead_elsewhere_is_no_topic() {
    let hub = blocking(|| Hub::serve(&[])).await;
    for path in [
        "/streams/..%2Fv1%2Fstreams%2Forders%2Fevents%23",
        "/streams/orders/groups/..%2F..%2F..%2Fv1",
    ] {
        let reply = hub.get(path).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(!reply.text.contains("hx-get=\"/streams/.."), "{}", reply.text);
    }
}
