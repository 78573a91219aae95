//! What a stage can take as input.

use std::{any::Any, sync::Arc};

use smallvec::SmallVec;

use crate::{
    code::{self, Code},
    value::{TypeTag, Value},
};

/// What a stage can take as input: exactly what its ports deliver.
///
/// | input | wired to | delivers |
/// |---|---|---|
/// | `Arc<T>` | `Port<T>`, or `a.or(b)` | the output, shared |
/// | [`Owned<T>`] | `Port<T>` | the output: moved if this is its last reader, cloned otherwise |
/// | `Vec<Arc<T>>` | `Vec<Port<T>>` | the outputs, in the order of the ports |
/// | `Vec<Option<Arc<T>>>` | `Vec<OptionalPort<T>>` | the same, `None` for each that is not there |
/// | `Option<Arc<T>>` | `port.optional()` | the output, or `None` if it will never come |
/// | [`StageInputs`] | names | outputs to be read by name |
/// | a tuple of up to 12 of these | a tuple of wires | each of them |
/// | `()` | `()` | nothing |
///
/// The trait is sealed.
#[diagnostic::on_unimplemented(
    message = "a stage cannot take `{Self}` as input",
    label = "not an input of a stage",
    note = "take `Arc<T>` (shared), `Owned<T>` (moved or cloned), `Vec<Arc<T>>` (fan-in), `Option<Arc<T>>` (optional), `StageInputs` (by name), `()` or a tuple of these"
)]
pub trait StageInput: sealed::Sealed + Sized + Send + 'static {
    #[doc(hidden)]
    fn take(source: &mut dyn InputSource) -> Result<Self, InputError>;

    /// What has to feed it.
    #[doc(hidden)]
    fn shape() -> InputShape;
}

/// What has to feed an input, for pipelines from data, which no compiler has seen.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputShape {
    Nothing,
    One { of: TypeTag, owned: bool },
    Optional(TypeTag),
    Many(TypeTag),
    ManyOptional(TypeTag),
    Named,
    Tuple(Vec<InputShape>),
}

mod sealed {
    pub trait Sealed {}
}

/// Hands a stage's inputs over, one wire after the other.
#[doc(hidden)]
pub trait InputSource {
    fn next(&mut self) -> Result<InputItem, InputError>;
}

/// One wire's delivery.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub enum InputItem {
    One(Value),
    Absent,
    Many(usize),
    Named(StageInputs),
}

/// The inputs of one call, kept so that an interceptor can call more than once.
#[doc(hidden)]
#[derive(Clone, Debug, Default)]
pub struct Inputs(SmallVec<[InputItem; 1]>);

impl Inputs {
    #[doc(hidden)]
    pub fn push(&mut self, item: InputItem) {
        self.0.push(item);
    }

    #[doc(hidden)]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[doc(hidden)]
    pub fn get(&self, index: usize) -> Option<&InputItem> {
        self.0.get(index)
    }

    #[doc(hidden)]
    pub fn into_source(self) -> impl InputSource {
        InputsSource(self.0.into_iter())
    }
}

/// The source of a stage that takes nothing.
#[doc(hidden)]
#[derive(Debug)]
pub struct NoInputs;

impl InputSource for NoInputs {
    fn next(&mut self) -> Result<InputItem, InputError> {
        Err(InputError::mismatch())
    }
}

struct InputsSource(smallvec::IntoIter<[InputItem; 1]>);

impl InputSource for InputsSource {
    fn next(&mut self) -> Result<InputItem, InputError> {
        self.0.next().ok_or_else(InputError::mismatch)
    }
}

/// An input could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InputError {
    code: Code,
    message: String,
}

impl InputError {
    /// The stable code.
    pub fn code(&self) -> Code {
        self.code
    }

    fn mismatch() -> Self {
        Self { code: code::INTERNAL, message: "a wire delivers another kind of input".to_owned() }
    }

    fn wrong_type(what: &str, wanted: TypeTag) -> Self {
        Self { code: code::WRONG_TYPE, message: format!("{what} is not a `{}`", wanted.short_name()) }
    }

    #[doc(hidden)]
    pub fn gone() -> Self {
        Self { code: code::INTERNAL, message: "an input was read before it was there".to_owned() }
    }
}

fn one<T: Any + Send + Sync>(source: &mut dyn InputSource) -> Result<Arc<T>, InputError> {
    match source.next()? {
        InputItem::One(value) => shared(value),
        _ => Err(InputError::mismatch()),
    }
}

fn shared<T: Any + Send + Sync>(value: Value) -> Result<Arc<T>, InputError> {
    value.downcast().map_err(|_| InputError::wrong_type("the input", TypeTag::of::<T>()))
}

impl sealed::Sealed for () {}

impl StageInput for () {
    fn take(_: &mut dyn InputSource) -> Result<Self, InputError> {
        Ok(())
    }

    fn shape() -> InputShape {
        InputShape::Nothing
    }
}

impl<T: Any + Send + Sync> sealed::Sealed for Arc<T> {}

impl<T: Any + Send + Sync> StageInput for Arc<T> {
    fn take(source: &mut dyn InputSource) -> Result<Self, InputError> {
        one(source)
    }

    fn shape() -> InputShape {
        InputShape::One { of: TypeTag::of::<T>(), owned: false }
    }
}

/// An input the stage owns: moved if this stage is the last reader, cloned otherwise.
///
/// An output that was moved can no longer be read from the run's report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owned<T>(pub T);

impl<T: Any + Clone + Send + Sync> sealed::Sealed for Owned<T> {}

impl<T: Any + Clone + Send + Sync> StageInput for Owned<T> {
    fn take(source: &mut dyn InputSource) -> Result<Self, InputError> {
        one(source).map(|shared| Self(Arc::unwrap_or_clone(shared)))
    }

    fn shape() -> InputShape {
        InputShape::One { of: TypeTag::of::<T>(), owned: true }
    }
}

impl<T: Any + Send + Sync> sealed::Sealed for Option<Arc<T>> {}

impl<T: Any + Send + Sync> StageInput for Option<Arc<T>> {
    fn take(source: &mut dyn InputSource) -> Result<Self, InputError> {
        match source.next()? {
            InputItem::One(value) => shared(value).map(Some),
            InputItem::Absent => Ok(None),
            _ => Err(InputError::mismatch()),
        }
    }

    fn shape() -> InputShape {
        InputShape::Optional(TypeTag::of::<T>())
    }
}

impl<T: Any + Send + Sync> sealed::Sealed for Vec<Arc<T>> {}

impl<T: Any + Send + Sync> StageInput for Vec<Arc<T>> {
    fn take(source: &mut dyn InputSource) -> Result<Self, InputError> {
        match source.next()? {
            InputItem::Many(count) => (0..count).map(|_| one(source)).collect(),
            _ => Err(InputError::mismatch()),
        }
    }

    fn shape() -> InputShape {
        InputShape::Many(TypeTag::of::<T>())
    }
}

impl<T: Any + Send + Sync> sealed::Sealed for Vec<Option<Arc<T>>> {}

impl<T: Any + Send + Sync> StageInput for Vec<Option<Arc<T>>> {
    fn take(source: &mut dyn InputSource) -> Result<Self, InputError> {
        match source.next()? {
            InputItem::Many(count) => {
                (0..count).map(|_| <Option<Arc<T>> as StageInput>::take(source)).collect()
            }
            _ => Err(InputError::mismatch()),
        }
    }

    fn shape() -> InputShape {
        InputShape::ManyOptional(TypeTag::of::<T>())
    }
}

macro_rules! tuples {
    ($(($($part:ident)+))+) => {$(
        impl<$($part: StageInput),+> sealed::Sealed for ($($part,)+) {}

        impl<$($part: StageInput),+> StageInput for ($($part,)+) {
            fn take(source: &mut dyn InputSource) -> Result<Self, InputError> {
                Ok(($($part::take(source)?,)+))
            }

            fn shape() -> InputShape {
                InputShape::Tuple(vec![$($part::shape()),+])
            }
        }
    )+};
}

tuples! {
    (A)
    (A B)
    (A B C)
    (A B C D)
    (A B C D E)
    (A B C D E F)
    (A B C D E F G)
    (A B C D E F G H)
    (A B C D E F G H I)
    (A B C D E F G H I J)
    (A B C D E F G H I J K)
    (A B C D E F G H I J K L)
}

/// Inputs by name, for pipelines that come from data. What was not declared cannot be read (rule S-12).
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{StageInputs, code};
///
/// let inputs = StageInputs::for_test("join").with("profile", String::from("Ada")).skipped("memory");
/// assert_eq!(*inputs.get_from::<String>("profile").unwrap(), "Ada");
/// assert_eq!(inputs.get_from::<String>("memory").unwrap_err().code(), code::INPUT_SKIPPED);
/// assert_eq!(inputs.get_from::<u32>("profile").unwrap_err().code(), code::WRONG_TYPE);
/// assert_eq!(inputs.get_from::<String>("typo").unwrap_err().code(), code::UNDECLARED_DEP);
/// ```
#[derive(Clone, Debug)]
pub struct StageInputs(Arc<NamedInputs>);

#[derive(Debug)]
struct NamedInputs {
    reader: String,
    items: Vec<(String, NamedItem)>,
}

/// What stands behind one declared name.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub enum NamedItem {
    Value(Value),
    Skipped,
    Unavailable,
}

impl StageInputs {
    /// Inputs for a test of a stage, to be filled by [`with`](Self::with) and [`skipped`](Self::skipped).
    pub fn for_test(reader: &str) -> Self {
        Self::new(reader, Vec::new())
    }

    #[doc(hidden)]
    pub fn new(reader: &str, items: Vec<(String, NamedItem)>) -> Self {
        Self(Arc::new(NamedInputs { reader: reader.to_owned(), items }))
    }

    /// Adds an input.
    #[must_use]
    pub fn with<T: Any + Send + Sync>(self, name: &str, value: T) -> Self {
        self.and(name, NamedItem::Value(Value::new(value)))
    }

    /// Adds an input whose stage was skipped.
    #[must_use]
    pub fn skipped(self, name: &str) -> Self {
        self.and(name, NamedItem::Skipped)
    }

    fn and(self, name: &str, item: NamedItem) -> Self {
        let mut items = self.0.items.clone();
        items.push((name.to_owned(), item));
        Self::new(&self.0.reader, items)
    }

    /// The declared names, in the order of the declaration.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.items.iter().map(|(name, _)| name.as_str())
    }

    /// The output of the stage `name`.
    ///
    /// # Errors
    ///
    /// `UNDECLARED_DEP` for a name that is not an input of this stage, `INPUT_SKIPPED` and
    /// `INPUT_UNAVAILABLE` for one that was skipped or has failed, `WRONG_TYPE` for one of another type.
    pub fn get_from<T: Any + Send + Sync>(&self, name: &str) -> Result<Arc<T>, InputError> {
        let (code, message) = match self.item(name)? {
            NamedItem::Value(value) => {
                return value.clone().downcast().map_err(|_| {
                    InputError::wrong_type(&format!("the output of `{name}`"), TypeTag::of::<T>())
                });
            }
            NamedItem::Skipped => (code::INPUT_SKIPPED, format!("`{name}` was skipped")),
            NamedItem::Unavailable => (code::INPUT_UNAVAILABLE, format!("`{name}` failed and has no output")),
        };
        Err(InputError { code, message })
    }

    /// The output of the stage `name`, or `None` if it was skipped or has failed.
    ///
    /// # Errors
    ///
    /// `UNDECLARED_DEP` and `WRONG_TYPE`, as for [`get_from`](Self::get_from).
    pub fn get_optional<T: Any + Send + Sync>(&self, name: &str) -> Result<Option<Arc<T>>, InputError> {
        match self.item(name)? {
            NamedItem::Value(_) => self.get_from(name).map(Some),
            NamedItem::Skipped | NamedItem::Unavailable => Ok(None),
        }
    }

    fn item(&self, name: &str) -> Result<&NamedItem, InputError> {
        self.0.items.iter().find(|(known, _)| known == name).map(|(_, item)| item).ok_or_else(|| {
            let declared: Vec<_> = self.names().map(|name| format!("`{name}`")).collect();
            InputError {
                code: code::UNDECLARED_DEP,
                message: format!(
                    "stage `{}` reads `{name}`, which is not among its inputs ({})",
                    self.0.reader,
                    if declared.is_empty() { "it has none".to_owned() } else { declared.join(", ") },
                ),
            }
        })
    }
}

impl sealed::Sealed for StageInputs {}

impl StageInput for StageInputs {
    fn take(source: &mut dyn InputSource) -> Result<Self, InputError> {
        match source.next()? {
            InputItem::Named(inputs) => Ok(inputs),
            _ => Err(InputError::mismatch()),
        }
    }

    fn shape() -> InputShape {
        InputShape::Named
    }
}
