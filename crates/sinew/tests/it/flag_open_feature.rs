//! Flags by OpenFeature's SDK: what a client of it is answered.

use std::sync::Arc;

use open_feature::provider::FeatureProvider as _;
use open_feature::{
    EvaluationContext, EvaluationContextFieldValue, EvaluationErrorCode, EvaluationReason, Value,
};
use serde_json::json;
use sinew::Sinew;
use sinew::flag::{Expected, Flag, OpenFeature};

use crate::laws::keep;

async fn provider(flags: serde_json::Value) -> OpenFeature {
    let handle = Sinew::embedded().flags().open().await.expect("flags");
    for (key, flag) in flags.as_object().expect("flags by key") {
        let flag: Flag = serde_json::from_value(flag.clone()).expect("a flag");
        let _ = handle.put(key, flag, Expected::Any, "ada").await.expect("a flag that may be");
    }
    OpenFeature::new(handle)
}

#[test]
fn each_type_is_resolved_with_its_variant_and_reason() {
    keep(|| async {
        let provider = provider(json!({
            "ui": { "type": "bool", "users": { "u1": "on" } },
            "algo": { "type": "string", "variants": { "n": "newest" }, "default": "n", "off": "n" },
            "size": {
                "type": "number", "variants": { "whole": 50.0, "half": 0.5 }, "default": "whole", "off": "half",
            },
            "theme": {
                "type": "json", "default": "dark", "off": "dark",
                "variants": { "dark": { "name": "dark", "levels": [1, 2.5, null], "none": null } },
            },
        }))
        .await;
        let cx = EvaluationContext::default().with_targeting_key("u1");
        let ui = provider.resolve_bool_value("ui", &cx).await.unwrap();
        assert!(ui.value);
        assert_eq!(ui.variant.as_deref(), Some("on"));
        assert_eq!(ui.reason, Some(EvaluationReason::TargetingMatch));
        let algo = provider.resolve_string_value("algo", &cx).await.unwrap();
        assert_eq!((algo.value.as_str(), algo.reason), ("newest", Some(EvaluationReason::Static)));
        assert_eq!(provider.resolve_int_value("size", &cx).await.unwrap().value, 50);
        assert!(
            (provider.resolve_float_value("size", &cx).await.unwrap().value - 50.0).abs() < 1e-9
        );
        let theme = provider.resolve_struct_value("theme", &cx).await.unwrap().value;
        assert_eq!(theme.fields.len(), 2);
        assert_eq!(theme.fields["name"], Value::String("dark".to_owned()));
        assert_eq!(theme.fields["levels"], Value::Array(vec![Value::Int(1), Value::Float(2.5)]));
    });
}

#[test]
fn custom_fields_are_attributes() {
    keep(|| async {
        let rule = |op: &str, value: serde_json::Value| {
            json!({ "type": "bool", "rules": [
                { "if": [{ "attribute": "it", "op": op, "values": [value] }], "then": "on" },
            ] })
        };
        let provider = provider(json!({
            "text": rule("is", json!("pro")), "whole": rule("at_least", json!(7)),
            "float": rule("less_than", json!(0.75)), "bool": rule("is", json!(true)),
            "list": rule("contains", json!("admin")),
        }))
        .await;
        let roles = vec!["guest".to_owned(), "admin".to_owned()];
        for (flag, field) in [
            ("text", EvaluationContextFieldValue::String("pro".to_owned())),
            ("whole", EvaluationContextFieldValue::Int(7)),
            ("float", EvaluationContextFieldValue::Float(0.5)),
            ("bool", EvaluationContextFieldValue::Bool(true)),
            ("list", EvaluationContextFieldValue::Struct(Arc::new(roles))),
        ] {
            let cx = EvaluationContext::default().with_custom_field("it", field);
            assert!(provider.resolve_bool_value(flag, &cx).await.unwrap().value, "{flag}");
            let nothing = EvaluationContext::default();
            assert!(!provider.resolve_bool_value(flag, &nothing).await.unwrap().value, "{flag}");
        }
    });
}

#[test]
fn what_cannot_be_resolved_says_why() {
    keep(|| async {
        let provider = provider(json!({
            "split": { "type": "bool", "rules": [{ "split": { "on": 50, "off": 50 } }] },
            "half": { "type": "number", "variants": { "half": 0.5 }, "default": "half", "off": "half" },
            "gone": { "type": "bool", "default": "on", "expires_at": "2020-01-01T00:00:00Z" },
        }))
        .await;
        let cx = EvaluationContext::default();
        let none = provider.resolve_bool_value("none", &cx).await.unwrap_err();
        assert_eq!(none.code, EvaluationErrorCode::FlagNotFound);
        let split = provider.resolve_bool_value("split", &cx).await.unwrap_err();
        assert_eq!(split.code, EvaluationErrorCode::TargetingKeyMissing);
        let half = provider.resolve_int_value("half", &cx).await.unwrap_err();
        assert_eq!(half.code, EvaluationErrorCode::TypeMismatch);
        let text = provider.resolve_string_value("half", &cx).await.unwrap_err();
        assert_eq!(text.code, EvaluationErrorCode::TypeMismatch);
        let gone = provider.resolve_bool_value("gone", &cx).await.unwrap_err();
        assert!(matches!(gone.code, EvaluationErrorCode::General(_)), "{gone:?}");
    });
}
