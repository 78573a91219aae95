//! The erased currency between stages.

use std::{any::Any, any::TypeId, fmt, sync::Arc};

/// An output of a stage, shared and immutable, with its type erased.
///
/// Interceptors meet it as the result of [`Next::run`](crate::Next::run); stages never do. A `()` costs no
/// allocation.
///
/// ```
/// use stageflow_core::Value;
/// let value = Value::new(7_u32);
/// assert!(value.is::<u32>());
/// assert_eq!(*value.downcast::<u32>().expect("it holds a u32"), 7);
/// ```
#[derive(Clone)]
pub struct Value(Repr);

#[derive(Clone)]
enum Repr {
    Unit,
    Shared(Arc<dyn Any + Send + Sync>),
}

impl Value {
    /// Wraps a value.
    #[inline]
    pub fn new<T: Any + Send + Sync>(value: T) -> Self {
        if TypeId::of::<T>() == TypeId::of::<()>() {
            return Self(Repr::Unit);
        }
        Self(Repr::Shared(Arc::new(value)))
    }

    /// Wraps a value that is already shared, without another allocation.
    #[inline]
    pub fn from_arc<T: Any + Send + Sync>(value: Arc<T>) -> Self {
        Self(Repr::Shared(value))
    }

    /// Whether this is a `T`.
    #[inline]
    pub fn is<T: Any>(&self) -> bool {
        self.type_id_of_value() == TypeId::of::<T>()
    }

    /// The value as a shared `T`.
    ///
    /// # Errors
    ///
    /// Gives the value back when it is of another type.
    #[inline]
    pub fn downcast<T: Any + Send + Sync>(self) -> Result<Arc<T>, Self> {
        match self.0 {
            Repr::Shared(shared) => shared.downcast::<T>().map_err(|other| Self(Repr::Shared(other))),
            Repr::Unit => {
                let unit: Arc<dyn Any + Send + Sync> = Arc::new(());
                unit.downcast::<T>().map_err(|_| Self(Repr::Unit))
            }
        }
    }

    /// A look at the value as a `T`.
    #[inline]
    pub fn downcast_ref<T: Any>(&self) -> Option<&T> {
        match &self.0 {
            Repr::Shared(shared) => shared.downcast_ref::<T>(),
            Repr::Unit => (&() as &dyn Any).downcast_ref::<T>(),
        }
    }

    #[doc(hidden)]
    #[inline]
    pub fn is_unit(&self) -> bool {
        matches!(self.0, Repr::Unit)
    }

    #[inline]
    pub(crate) fn type_id_of_value(&self) -> TypeId {
        match &self.0 {
            Repr::Unit => TypeId::of::<()>(),
            Repr::Shared(shared) => (**shared).type_id(),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Payloads are never printed: they may hold secrets.
        f.write_str("Value(..)")
    }
}

/// The type of a value, with a name for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeTag {
    id: TypeId,
    name: &'static str,
}

impl TypeTag {
    /// The tag of `T`.
    pub fn of<T: Any>() -> Self {
        Self { id: TypeId::of::<T>(), name: std::any::type_name::<T>() }
    }

    /// The full path of the type.
    pub fn full_name(&self) -> &'static str {
        self.name
    }

    /// The name of the type without the paths of its parts, for people.
    ///
    /// ```
    /// use stageflow_core::value::TypeTag;
    /// assert_eq!(TypeTag::of::<Vec<String>>().short_name(), "Vec<String>");
    /// ```
    pub fn short_name(&self) -> String {
        shorten(self.name)
    }

    /// Whether `value` is of this type.
    #[inline]
    pub fn matches(&self, value: &Value) -> bool {
        self.id == value.type_id_of_value()
    }
}

/// Drops the module path of each identifier in a type name.
pub(crate) fn shorten(full: &str) -> String {
    let mut out = String::with_capacity(full.len());
    let mut word_start = 0;
    let mut chars = full.char_indices().peekable();
    while let Some((_, c)) = chars.next() {
        if c == ':' && chars.peek().is_some_and(|(_, next)| *next == ':') {
            chars.next();
            out.truncate(word_start);
        } else {
            out.push(c);
            if !c.is_alphanumeric() && c != '_' {
                word_start = out.len();
            }
        }
    }
    out
}
