//! Takes a token apart (RFC 7515, section 7.1). What is unusual about it is a reason to refuse it.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{
    Deserialize,
    de::{self, Deserializer, MapAccess, Visitor},
};
use serde_json::Value;

/// A token, of which nothing is proven yet.
pub(super) struct Token<'a> {
    pub(super) header: Header,
    /// What is signed.
    pub(super) message: &'a str,
    pub(super) signature: Vec<u8>,
    claims: &'a str,
}

/// What counts of a header. Whatever it says about keys beyond their id, such as `jwk` and `jku`, counts for nothing.
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    pub(super) typ: Option<String>,
    /// Whether it holds anything that must be understood: nothing is.
    pub(super) crit: bool,
}

/// The members of a JSON object, each of them once. (RFC 7519, section 4, leaves it to the reader whether two are an error.)
pub(super) struct Members(BTreeMap<String, Value>);

impl Members {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    fn parse(part: &str) -> Option<Self> {
        serde_json::from_slice(&decode(part)?).ok()
    }

    /// The text of this name; the outer `None` if it is there and is no text.
    fn text(&self, name: &str) -> Option<Option<String>> {
        match self.get(name) {
            None => Some(None),
            Some(value) => value.as_str().map(|text| Some(text.to_owned())),
        }
    }
}

impl Header {
    fn of(members: &Members) -> Option<Self> {
        Some(Self {
            alg: members.text("alg")??,
            kid: members.text("kid")?,
            typ: members.text("typ")?,
            crit: members.get("crit").is_some(),
        })
    }
}

impl<'a> Token<'a> {
    /// The parts of a token; nothing if it is not exactly three parts of base64url, of which the first is a header.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (message, signature) = text.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        if claims.contains('.') {
            return None;
        }
        let header = Header::of(&Members::parse(header)?)?;
        Some(Self { header, message, signature: decode(signature)?, claims })
    }

    /// The claims, to be read when the signature is proven.
    pub(super) fn claims(&self) -> Option<Members> {
        Members::parse(self.claims)
    }
}

/// Without padding, without other characters, and without stray bits at the end.
fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Once;
        impl<'de> Visitor<'de> for Once {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object without repeated names")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members, M::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(de::Error::custom("a name is there twice"));
                    }
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Once)
    }
}
