//! Typed values that travel with a run.

use std::{
    any::{Any, TypeId},
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::DeserializeOwned,
    ser::{Error as _, SerializeMap},
};

use crate::sensitive;

/// Under which name a journal has what is shown of values with sensitive parts.
const SHOWN: &str = "$shown";

/// Values by their type, shared and immutable once a run has them.
///
/// A value inserted by [`insert`](Self::insert) lives in memory only. One inserted by
/// [`insert_named`](Self::insert_named) is also written when the snapshot is serialised, and read back by
/// [`restore`](Self::restore). [`Sensitive`](crate::Sensitive) parts of it are written for a journal only.
#[derive(Clone, Default)]
pub struct Extensions {
    typed: HashMap<TypeId, Typed, BuildHasherDefault<OfType>>,
    named: BTreeMap<String, Named>,
}

/// A value with a name, as JSON.
#[derive(Clone)]
struct Named {
    /// As it is, for journals and for [`Extensions::restore`].
    kept: serde_json::Value,
    /// As anybody else may see it, where that is something else.
    shown: Option<serde_json::Value>,
}

#[derive(Clone)]
struct Typed {
    value: Arc<dyn Any + Send + Sync>,
    /// Under which name it is serialised, if it is.
    name: Option<Box<str>>,
}

/// Hashes type ids, which the compiler has hashed already, and which no caller chooses.
#[derive(Default)]
struct OfType(u64);

impl Hasher for OfType {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, part: u64) {
        self.0 ^= part;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

impl Extensions {
    /// Adds a value; one of the same type is replaced, and is no longer serialised if it was.
    pub fn insert<T: Any + Send + Sync>(&mut self, value: T) {
        self.replace(value, None);
    }

    fn replace<T: Any + Send + Sync>(&mut self, value: T, name: Option<&str>) {
        let new = Typed { value: Arc::new(value), name: name.map(Box::from) };
        let old = self.typed.insert(TypeId::of::<T>(), new).and_then(|old| old.name);
        if let Some(old) = old.filter(|old| Some(&**old) != name) {
            self.named.remove(&*old);
        }
    }

    /// Adds a value that is kept under `name` when the snapshot is serialised.
    ///
    /// # Errors
    ///
    /// When the value cannot be written as JSON, or the name is `$shown`, which is taken.
    pub fn insert_named<T>(&mut self, name: &str, value: T) -> Result<(), serde_json::Error>
    where
        T: Any + Send + Sync + Serialize,
    {
        if name == SHOWN {
            return Err(serde_json::Error::custom("an extension cannot be called `$shown`"));
        }
        let kept = sensitive::exposed(|| serde_json::to_value(&value))?;
        let shown = Some(serde_json::to_value(&value)?).filter(|shown| *shown != kept);
        self.named.insert(name.to_owned(), Named { kept, shown });
        self.replace(value, Some(name));
        Ok(())
    }

    /// The value of type `T`.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.typed.get(&TypeId::of::<T>())?.value.downcast_ref()
    }

    /// Reads the value that was serialised under `name` back into its type.
    ///
    /// # Errors
    ///
    /// When what stands under `name` is not a `T`; `Ok(None)` when nothing does.
    pub fn restore<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, serde_json::Error> {
        self.named.get(name).map(|named| T::deserialize(&named.kept)).transpose()
    }

    /// The names under which values are serialised.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extensions")
            .field("typed", &self.typed.len())
            .field("named", &self.named.keys().collect::<Vec<_>>())
            .finish()
    }
}

impl Serialize for Extensions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let is_kept = sensitive::is_exposed();
        for (name, value) in &self.named {
            let shown = value.shown.as_ref().filter(|_| !is_kept);
            map.serialize_entry(name, shown.unwrap_or(&value.kept))?;
        }
        // Whoever reads the journal has to know as well what may be shown.
        let shown = || self.named.iter().filter_map(|(name, value)| Some((name, value.shown.as_ref()?)));
        if is_kept && shown().next().is_some() {
            map.serialize_entry(SHOWN, &shown().collect::<BTreeMap<_, _>>())?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Extensions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut all = BTreeMap::<String, serde_json::Value>::deserialize(deserializer)?;
        let mut shown: BTreeMap<String, _> = match all.remove(SHOWN) {
            Some(shown) => BTreeMap::deserialize(shown).map_err(serde::de::Error::custom)?,
            None => BTreeMap::new(),
        };
        let named = all.into_iter().map(|(name, kept)| {
            let shown = shown.remove(&name);
            (name, Named { kept, shown })
        });
        Ok(Self { typed: HashMap::default(), named: named.collect() })
    }
}
