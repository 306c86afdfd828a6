//! Who a flag is evaluated for.

use serde_json::{Map, Value};
use sinew::Tenant;
use sinew::flag::{EvalContext, EvalError};

/// The name that OpenFeature has for who the user is.
const TARGETING_KEY: &str = "targetingKey";

/// A context as OpenFeature's clients send it.
///
/// # Errors
/// As [`EvalContext::from_json`].
pub(crate) fn read(
    context: &Map<String, Value>,
    tenant: Option<&Tenant>,
) -> Result<EvalContext, EvalError> {
    let cx = EvalContext::from_json(context)?;
    // Whose flags they are, whatever the client calls itself.
    Ok(match tenant {
        Some(tenant) => cx.tenant(tenant.as_str()),
        None => cx,
    })
}

/// A context as people write it: a user, and attributes like `plan=pro`.
///
/// # Errors
/// A sentence that says what was expected.
pub(crate) fn written(
    user: Option<&str>,
    attributes: &[String],
    tenant: Option<&Tenant>,
) -> Result<EvalContext, String> {
    let mut context = Map::new();
    for text in attributes {
        let (name, value) = attribute(text)?;
        if context.insert(name.to_owned(), value).is_some() {
            return Err(format!("attribute {name:?} is given more than once: expected it once"));
        }
    }
    if let Some(user) = user {
        context.insert(TARGETING_KEY.to_owned(), Value::from(user));
    }
    read(&context, tenant).map_err(|error| error.to_string())
}

/// A name, and a value that is a text unless it reads as JSON of another kind.
fn attribute(text: &str) -> Result<(&str, Value), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = parts.ok_or_else(|| {
        format!("invalid attribute {text:?}: expected a name and a value, like plan=pro")
    })?;
    let value = match serde_json::from_str(value) {
        Ok(Value::Null | Value::Object(_)) | Err(_) => Value::from(value),
        Ok(value) => value,
    };
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_a_text_unless_it_reads_as_something_else() {
        for (text, value) in [
            ("plan=pro", Value::from("pro")),
            ("plan=", Value::from("")),
            ("formula=a=b", Value::from("a=b")),
            ("seats=12", Value::from(12)),
            ("seats=\"12\"", Value::from("12")),
            ("beta=true", Value::from(true)),
            ("teams=[\"a\", \"b\"]", Value::from(vec!["a", "b"])),
            ("nothing=null", Value::from("null")),
            ("version=1.2.3", Value::from("1.2.3")),
        ] {
            let name = text.split_once('=').unwrap().0;
            assert_eq!(attribute(text), Ok((name, value)), "{text}");
        }
        for bad in ["plan", "=pro", ""] {
            assert!(attribute(bad).unwrap_err().contains("like plan=pro"), "{bad}");
        }
        let twice = ["plan=pro".to_owned(), "plan=free".to_owned()];
        assert!(written(None, &twice, None).is_err());
    }

    #[test]
    fn who_the_user_is_cannot_be_said_twice() {
        let both = written(Some("ada"), &["targetingKey=bob".to_owned()], None).unwrap();
        assert_eq!(both.targeting_key(), Some("ada"));
        assert_eq!(written(None, &[], None).unwrap().targeting_key(), None);
    }
}
