//! Webhooks, as the store has them: what hubs go by.

use sinew::limit::Expected;
use sinew::stream::{Secret, Webhook};

use super::SECOND;

fn webhook() -> Webhook {
    Webhook::new("orders", "https://example.com/in", Secret::generate().unwrap())
}

laws! {
    async fn a_webhook_fails_since_its_first_failure_until_a_hub_delivers(store: Store) {
        let (here, there) = (store.tenant("acme").await, store.tenant("acme").await);
        let (here, there) = (here.streams().webhooks(), there.streams().webhooks());
        let pause = SECOND / 100;
        assert!(here.note_failure("billing").await.unwrap().is_zero());
        tokio::time::sleep(pause).await;
        let failing = there.note_failure("billing").await.unwrap();
        assert!(failing >= pause / 2, "whichever hub fails: {failing:?}");
        there.note_success("billing").await.unwrap();
        assert!(here.note_failure("billing").await.unwrap().is_zero());
        tokio::time::sleep(pause).await;
        // Another endpoint begins anew, and so does one that people say is well again.
        let _ = here.put("billing", &webhook(), Expected::Any).await.unwrap();
        assert!(there.note_failure("billing").await.unwrap().is_zero());
        tokio::time::sleep(pause).await;
        let _ = here.set_paused("billing", Some("410 Gone")).await.unwrap();
        assert!(there.note_failure("billing").await.unwrap() >= pause / 2);
        let _ = here.set_paused("billing", None).await.unwrap();
        assert!(there.note_failure("billing").await.unwrap().is_zero());
    }

    async fn only_the_definition_that_was_looked_at_is_paused(store: Store) {
        let sinew = store.tenant("acme").await;
        let webhooks = sinew.streams().webhooks();
        let old = webhooks.put("billing", &webhook(), Expected::Any).await.unwrap();
        let new = webhooks.put("billing", &webhook(), Expected::Any).await.unwrap();
        assert!(!webhooks.pause_at(&old, "410 Gone").await.unwrap());
        assert_eq!(webhooks.get("billing").await.unwrap().unwrap().paused, None);
        assert!(webhooks.pause_at(&new, "410 Gone").await.unwrap());
        let paused = webhooks.get("billing").await.unwrap().unwrap().paused.unwrap();
        assert_eq!(paused.reason, "410 Gone");
    }

    async fn a_tenant_is_looked_at_while_it_has_webhooks(store: Store) {
        let sinew = store.tenant("acme").await;
        let webhooks = sinew.streams().webhooks();
        for name in ["billing", "mail"] {
            let _ = webhooks.put(name, &webhook(), Expected::Absent).await.unwrap();
        }
        for name in ["billing", "mail"] {
            assert_eq!(sinew.webhook_tenants().await.unwrap(), [Some("acme".to_owned())]);
            assert!(webhooks.remove(name, Expected::Any).await.unwrap());
        }
        assert!(sinew.webhook_tenants().await.unwrap().is_empty());
        let _ = webhooks.put("mail", &webhook(), Expected::Absent).await.unwrap();
        assert_eq!(sinew.webhook_tenants().await.unwrap(), [Some("acme".to_owned())]);
    }
}
