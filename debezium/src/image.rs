use serde::Deserialize;
use serde_json::value::RawValue;

/// The row before and after a change, as JSON objects as they stand in the message; none where there is none. They are of
/// people, so that nothing prints them.
#[derive(Clone, Copy)]
pub struct RowImages<'a> {
    pub before: Option<&'a str>,
    pub after: Option<&'a str>,
    /// What explains them, of a message that carries its schema.
    pub schema: Option<&'a str>,
}

#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(borrow, default)]
    before: Option<&'a RawValue>,
    #[serde(borrow, default)]
    after: Option<&'a RawValue>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default)]
    schema: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

impl<'a> RowImages<'a> {
    /// Of an envelope, with its schema around it or not; none where the bytes are no JSON object.
    pub fn of(envelope: &'a [u8]) -> Option<Self> {
        let outer: Parts<'_> = serde_json::from_slice(envelope).ok()?;
        let schema = outer.schema.map(RawValue::get);
        let parts: Parts<'_> = match outer.payload {
            Some(payload) if outer.after.is_none() && outer.before.is_none() => {
                serde_json::from_str(payload.get()).ok()?
            }
            _ => outer,
        };
        Some(Self {
            before: parts.before.and_then(object),
            after: parts.after.and_then(object),
            schema,
        })
    }
}

/// The key's columns as a JSON object, of a message's key.
pub fn key_image(key: &[u8]) -> Option<&str> {
    let outer: &RawValue = serde_json::from_slice(key).ok()?;
    let wrapped: Option<Wrapped<'_>> = serde_json::from_str(outer.get()).ok();
    match wrapped.and_then(|wrapped| wrapped.payload) {
        Some(payload) => object(payload),
        None => object(outer),
    }
}

fn object(raw: &RawValue) -> Option<&str> {
    raw.get().starts_with('{').then(|| raw.get())
}
