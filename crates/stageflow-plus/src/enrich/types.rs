//! How the outputs of stages are measured and cut, by their type: interceptors see values whose type is erased.

use std::{any::Any, borrow::Cow, sync::Arc};

use stageflow_core::{Value, value::TypeTag};

use super::{
    counter::TokenCounter,
    measure::Measure,
    shorten::{CutUnit, Shorten},
};

type Measuring = dyn Fn(&Value, &dyn TokenCounter) -> usize + Send + Sync;
type Cutting = dyn Fn(&Value, usize, &dyn TokenCounter) -> Option<Cut> + Send + Sync;

/// A value that was made to fit.
pub(crate) struct Cut {
    pub(crate) value: Value,
    pub(crate) unit: CutUnit,
    pub(crate) removed: Vec<std::ops::Range<usize>>,
}

/// What is known of one type.
#[derive(Clone)]
pub(crate) struct Type {
    tag: TypeTag,
    measure: Arc<Measuring>,
    pub(crate) cut: Option<(Arc<str>, Arc<Cutting>)>,
}

impl Type {
    /// A type that says itself how it is measured.
    pub(crate) fn of<T: Measure + Any + Send + Sync>() -> Self {
        Self::by(T::measure)
    }

    /// A type that is measured by a function.
    pub(crate) fn by<T: Any + Send + Sync>(
        measure: impl Fn(&T, &dyn TokenCounter) -> usize + Send + Sync + 'static,
    ) -> Self {
        let measure = move |value: &Value, counter: &dyn TokenCounter| {
            value.downcast_ref().map_or(0, |it| measure(it, counter))
        };
        Self { tag: TypeTag::of::<T>(), measure: Arc::new(measure), cut: None }
    }

    /// The same, cut by a strategy.
    pub(crate) fn cut_by<T: Any + Send + Sync>(mut self, strategy: impl Shorten<T>) -> Self {
        let name = Arc::from(strategy.strategy());
        let cut = move |value: &Value, limit: usize, counter: &dyn TokenCounter| {
            let short = strategy.shorten(value.downcast_ref::<T>()?, limit, counter)?;
            Some(Cut { value: Value::new(short.value), unit: short.unit, removed: short.removed })
        };
        self.cut = Some((name, Arc::new(cut)));
        self
    }

    pub(crate) fn measure(&self, value: &Value, counter: &dyn TokenCounter) -> usize {
        (self.measure)(value, counter)
    }
}

/// The types that a window knows.
#[derive(Clone)]
pub(crate) struct Types(Vec<Type>);

impl Types {
    /// Texts, and lists of them.
    pub(crate) fn texts() -> Self {
        Self(vec![
            Type::of::<String>(),
            Type::of::<Vec<String>>(),
            Type::of::<Arc<str>>(),
            Type::of::<Vec<Arc<str>>>(),
            Type::of::<Box<str>>(),
            Type::of::<Cow<'static, str>>(),
            Type::of::<&'static str>(),
            Type::of::<Vec<&'static str>>(),
            Type::of::<Option<String>>(),
            Type::of::<()>(),
        ])
    }

    /// Adds a type, in the place of the same if it is known.
    pub(crate) fn add(&mut self, one: Type) {
        match self.0.iter_mut().find(|known| known.tag == one.tag) {
            Some(known) => *known = one,
            None => self.0.push(one),
        }
    }

    /// Adds a type, unless it is known: what was said of it stays.
    pub(crate) fn know<T: Measure + Any + Send + Sync>(&mut self) {
        if self.0.iter().all(|known| known.tag != TypeTag::of::<T>()) {
            self.add(Type::of::<T>());
        }
    }

    /// Has values of a type cut, and leaves how it is measured.
    pub(crate) fn cut<T: Measure + Any + Send + Sync>(&mut self, strategy: impl Shorten<T>) {
        let tag = TypeTag::of::<T>();
        let known = self.0.iter().find(|known| known.tag == tag).cloned().unwrap_or_else(Type::of::<T>);
        self.add(known.cut_by(strategy));
    }

    pub(crate) fn find(&self, value: &Value) -> Option<&Type> {
        self.0.iter().find(|known| known.tag.matches(value))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|known| known.tag.short_name())
    }
}
