//! `flags!`: what the structs that it makes promise.

use serde::Deserialize;
use serde_json::json;
use sinew::Sinew;
use sinew::flag::{EvalContext, Expected, Flag, Flags};

use crate::laws::keep;

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Algo {
    Relevance,
    Newest,
}

sinew::flags! {
    /// What the service may do.
    struct Features {
        /// Answers by the larger models.
        advanced_ai_models: bool = false,
        /// How results are ordered.
        #[expires("2027-01-31")]
        algo: Algo = Algo::Relevance,
        #[key("page.size")]
        #[expires("2020-01-01")]
        page_size: u32 = 10 + 10,
        r#type: String = String::from("plain"),
        is_open: bool = true,
    }
}

async fn flags() -> Flags {
    Sinew::embedded().flags().open().await.expect("flags")
}

async fn define(flags: &Flags, key: &str, flag: serde_json::Value) {
    let flag: Flag = serde_json::from_value(flag).expect("a flag");
    let _ = flags.put(key, flag, Expected::Any, "ada").await.expect("a flag that may be");
}

#[test]
fn without_a_flag_each_is_its_default() {
    keep(|| async {
        let features = Features::new(flags().await);
        let cx = EvalContext::user("u1");
        assert!(!features.advanced_ai_models(&cx));
        assert!(features.is_open(&cx));
        assert_eq!(features.algo(&cx), Algo::Relevance);
        assert_eq!(features.page_size(&cx), 20);
        assert_eq!(features.r#type(&cx), "plain");
    });
}

#[test]
fn a_flag_is_found_by_its_key_and_read_as_its_type() {
    keep(|| async {
        let flags = flags().await;
        let features = Features::new(flags.clone());
        let users = json!({ "type": "bool", "users": { "u1": "on" } });
        define(&flags, "advanced-ai-models", users).await;
        define(&flags, "is-open", json!({ "type": "bool" })).await;
        let newest =
            json!({ "type": "string", "variants": { "n": "newest" }, "default": "n", "off": "n" });
        define(&flags, "algo", newest).await;
        let fifty = json!({
            "type": "number", "variants": { "large": 50 }, "default": "large", "off": "large",
        });
        define(&flags, "page.size", fifty).await;

        let cx = EvalContext::user("u1");
        assert!(features.advanced_ai_models(&cx));
        assert!(!features.advanced_ai_models(&EvalContext::user("u2")));
        assert!(!features.is_open(&cx));
        assert_eq!(features.algo(&cx), Algo::Newest);
        assert_eq!(features.clone().page_size(&cx), 50);
    });
}

#[test]
fn a_value_of_another_type_is_the_default() {
    keep(|| async {
        let flags = flags().await;
        let oldest =
            json!({ "type": "string", "variants": { "o": "oldest" }, "default": "o", "off": "o" });
        define(&flags, "algo", oldest.clone()).await;
        define(&flags, "is-open", oldest).await;
        let features = Features::new(flags);
        assert_eq!(features.algo(&EvalContext::new()), Algo::Relevance);
        assert!(features.is_open(&EvalContext::new()));
    });
}

#[test]
fn the_keys_are_known_and_so_are_those_that_are_overdue() {
    assert_eq!(Features::KEYS, ["advanced-ai-models", "algo", "page.size", "type", "is-open"]);
    assert_eq!(Features::overdue("2019-12-31"), Vec::<&str>::new());
    assert_eq!(Features::overdue("2020-01-01"), ["page.size"]);
    assert_eq!(Features::overdue("2027-01-30"), ["page.size"]);
    assert_eq!(Features::overdue("2027-01-31"), ["algo", "page.size"]);
}
