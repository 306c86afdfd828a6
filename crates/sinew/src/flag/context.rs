//! For whom or what a flag is evaluated.

use std::fmt;

use serde_json::{Map, Value};

use super::evaluation::EvalError;

/// What conditions and OpenFeature call the key of the subject.
pub(super) const TARGETING_KEY: &str = "targetingKey";
/// What conditions call the tenant.
const TENANT: &str = "tenant";
/// So many bytes of a text, and so many of a list, are shown to people.
const TEXT_SHOWN_LEN_MAX: usize = 60;
const LIST_SHOWN_MAX: usize = 5;

/// For whom or what a flag is evaluated: a user or another subject, and what is known of it.
///
/// ```
/// use sinew::flag::EvalContext;
///
/// let cx = EvalContext::user("u1").tenant("acme").with("plan", "pro").with("seats", 12);
/// assert_eq!(cx.targeting_key(), Some("u1"));
/// ```
///
/// Nothing of it leaves the process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvalContext {
    targeting_key: Option<String>,
    /// By name, which a condition looks up.
    attributes: Vec<(String, AttributeValue)>,
}

/// What an attribute of an [`EvalContext`] is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AttributeValue {
    /// Text.
    Text(String),
    /// True or false.
    Bool(bool),
    /// A number, whole ones exact to 2^53.
    Number(f64),
    /// Several texts, such as roles.
    List(Vec<String>),
}

/// An attribute, as conditions look at it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Attribute<'a> {
    Text(&'a str),
    Bool(bool),
    Number(f64),
    List(&'a [String]),
}

impl EvalContext {
    /// Nothing is known of whom.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A user, or any other subject that is to get the same answer each time, by its id. An empty id is
    /// none.
    #[must_use]
    pub fn user(id: impl Into<String>) -> Self {
        Self { targeting_key: Some(id.into()), attributes: Vec::new() }
    }

    /// Adds what is known of the subject, in place of what was said of it before.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<AttributeValue>) -> Self {
        self.set(name.into(), value.into());
        self
    }

    /// The subject belongs to this tenant: the attribute `tenant`.
    #[must_use]
    pub fn tenant(self, name: impl Into<String>) -> Self {
        self.with(TENANT, AttributeValue::Text(name.into()))
    }

    /// The id of the subject, by which shares are dealt out and overrides found.
    #[must_use]
    pub fn targeting_key(&self) -> Option<&str> {
        // Else all who are not signed in would be one user.
        self.targeting_key.as_deref().filter(|key| !key.is_empty())
    }

    /// The context of an OpenFeature client: `targetingKey`, and attributes. What is neither text, nor
    /// true or false, nor a number, nor a list of texts is left out.
    ///
    /// # Errors
    /// [`EvalError::InvalidContext`] where `targetingKey` is no text.
    pub fn from_json(context: &Map<String, Value>) -> Result<Self, EvalError> {
        let mut read = Self::new();
        for (name, value) in context {
            match value {
                Value::String(text) => read.set(name.clone(), AttributeValue::Text(text.clone())),
                Value::Null => {}
                _ if name == TARGETING_KEY => {
                    let why = format!("{TARGETING_KEY}: expected text");
                    return Err(EvalError::InvalidContext(why));
                }
                Value::Bool(value) => read.set(name.clone(), AttributeValue::Bool(*value)),
                Value::Number(number) => {
                    if let Some(number) = number.as_f64() {
                        read.set(name.clone(), AttributeValue::Number(number));
                    }
                }
                Value::Array(items) => {
                    let texts: Option<Vec<String>> =
                        items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                    if let Some(texts) = texts {
                        read.set(name.clone(), AttributeValue::List(texts));
                    }
                }
                Value::Object(_) => {}
            }
        }
        Ok(read)
    }

    /// What is known under a name, the key of the subject included.
    pub(super) fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        if name == TARGETING_KEY {
            return self.targeting_key().map(Attribute::Text);
        }
        let at = self.place(name).ok()?;
        Some(match &self.attributes.get(at)?.1 {
            AttributeValue::Text(text) => Attribute::Text(text),
            AttributeValue::Bool(value) => Attribute::Bool(*value),
            AttributeValue::Number(number) => Attribute::Number(*number),
            AttributeValue::List(texts) => Attribute::List(texts),
        })
    }

    pub(super) fn tenant_name(&self) -> Option<&str> {
        match self.attribute(TENANT) {
            Some(Attribute::Text(name)) => Some(name),
            _ => None,
        }
    }

    fn set(&mut self, name: String, value: AttributeValue) {
        match (self.place(&name), value) {
            (_, AttributeValue::Text(key)) if name == TARGETING_KEY => {
                self.targeting_key = Some(key);
            }
            (Ok(at), value) => self.attributes[at].1 = value,
            (Err(at), value) => self.attributes.insert(at, (name, value)),
        }
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.attributes.binary_search_by(|(known, _)| known.as_str().cmp(name))
    }
}

/// As people read it, with its kind: `the text "42"`, `the number 42`.
impl fmt::Display for Attribute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "the text {:?}", shortened(text)),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) => write!(f, "the number {number}"),
            Self::List(texts) => {
                let shown = texts.iter().take(LIST_SHOWN_MAX).map(|text| shortened(text));
                write!(f, "the list {:?}", shown.collect::<Vec<_>>())?;
                match texts.len().saturating_sub(LIST_SHOWN_MAX) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
        }
    }
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_SHOWN_LEN_MAX)]
}

impl From<&str> for AttributeValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for AttributeValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for AttributeValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for AttributeValue {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

// The one whole number: a literal has no other that it could be.
impl From<i64> for AttributeValue {
    fn from(number: i64) -> Self {
        #[allow(clippy::cast_precision_loss)]
        Self::Number(number as f64)
    }
}

impl From<Vec<String>> for AttributeValue {
    fn from(texts: Vec<String>) -> Self {
        Self::List(texts)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(context: &Value) -> Result<EvalContext, EvalError> {
        EvalContext::from_json(context.as_object().unwrap())
    }

    #[test]
    fn a_context_of_openfeature_is_that_of_the_same_words() {
        let json = json!({
            "targetingKey": "u1", "plan": "pro", "beta": true, "seats": 12, "load": 0.5,
            "roles": ["admin", "author"], "tenant": "acme",
            "address": { "city": "Oslo" }, "mixed": [1, "a"], "nothing": null,
        });
        let roles = vec!["admin".to_owned(), "author".to_owned()];
        let said = EvalContext::user("u1")
            .with("plan", "pro")
            .with("beta", true)
            .with("seats", 12)
            .with("load", 0.5)
            .with("roles", roles)
            .tenant("acme");
        assert_eq!(of(&json).unwrap(), said);
        assert_eq!(said.tenant_name(), Some("acme"));
    }

    #[test]
    fn a_targeting_key_is_text_or_the_context_is_none() {
        for key in [json!(7), json!(true), json!(["u1"]), json!({ "id": "u1" })] {
            let refused = of(&json!({ "targetingKey": key }));
            assert!(matches!(refused, Err(EvalError::InvalidContext(_))), "{key}");
        }
        for none in [json!({}), json!({ "targetingKey": null }), json!({ "targetingKey": "" })] {
            assert_eq!(of(&none).unwrap().targeting_key(), None, "{none}");
        }
    }

    #[test]
    fn an_attribute_is_shown_with_its_kind_and_in_bounds() {
        for (value, shown) in [
            (AttributeValue::from("42"), r#"the text "42""#.to_owned()),
            (AttributeValue::from(42), "the number 42".to_owned()),
            (AttributeValue::from(true), "true".to_owned()),
            (AttributeValue::from("é".repeat(100)), format!("the text {:?}", "é".repeat(30))),
            (
                AttributeValue::from(vec!["a".to_owned(); 7]),
                r#"the list ["a", "a", "a", "a", "a"] and 2 more"#.to_owned(),
            ),
        ] {
            let cx = EvalContext::new().with("it", value);
            assert_eq!(cx.attribute("it").unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_said_last_of_an_attribute_counts() {
        let cx = EvalContext::new().with("b", 1).with("a", "x").with("c", true).with("b", "y");
        assert_eq!(cx.attribute("a"), Some(Attribute::Text("x")));
        assert_eq!(cx.attribute("b"), Some(Attribute::Text("y")));
        assert_eq!(cx.attribute("c"), Some(Attribute::Bool(true)));
        assert_eq!(cx.attribute("d"), None);
        let cx = EvalContext::user("u1").with(TARGETING_KEY, "u2");
        assert_eq!(
            (cx.targeting_key(), cx.attribute(TARGETING_KEY)),
            (Some("u2"), Some(Attribute::Text("u2")))
        );
    }
}
