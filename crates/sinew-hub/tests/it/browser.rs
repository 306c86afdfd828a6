//! A real browser, driven.

use std::path::Path;
use std::time::{Duration, Instant};

use thirtyfour::prelude::*;

use crate::world::Server;

pub async fn in_a_browser<F>(server: &Server, look: impl FnOnce(WebDriver) -> F)
where
    F: Future<Output = WebDriverResult<()>> + Send + 'static,
{
    let profile = tempfile::tempdir().unwrap();
    let mut browser = DesiredCapabilities::chrome();
    for argument in [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--window-size=1200,900",
        &format!("--user-data-dir={}", profile.path().display()),
    ] {
        browser.add_arg(argument).unwrap();
    }
    let driver =
        WebDriver::new(&format!("http://127.0.0.1:{}", server.port), browser).await.unwrap();
    // Whatever is seen, the browser ends.
    let seen = tokio::spawn(look(driver.clone())).await;
    driver.quit().await.unwrap();
    seen.unwrap().unwrap();
}

/// How long a page may take to show something.
pub const WAIT: Duration = Duration::from_secs(20);
pub const EVERY: Duration = Duration::from_millis(100);

/// In one step: the page replaces its tiles every second, and an element found may be gone
/// when it is asked for its text. Empty while there is no such element.
pub async fn text_of(driver: &WebDriver, id: &str) -> WebDriverResult<String> {
    let script = format!("return document.getElementById('{id}')?.textContent ?? ''");
    driver.execute(script, vec![]).await?.convert()
}

pub async fn until_text(driver: &WebDriver, id: &str, text: &str) -> WebDriverResult<()> {
    let began = Instant::now();
    loop {
        let found = text_of(driver, id).await?;
        if found == text {
            return Ok(());
        }
        assert!(began.elapsed() < WAIT, "{id} is {found:?} and never {text:?}");
        tokio::time::sleep(EVERY).await;
    }
}

/// For people to look at, in the target folder.
pub async fn screenshot(driver: &WebDriver, name: &str) -> WebDriverResult<()> {
    driver.screenshot(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)).await
}
