//! Which ports feed which inputs.

use std::{any::Any, sync::Arc};

use stageflow_core::{Owned, StageInput, StageInputs};

use crate::{
    draft::Wires,
    names::{Names, names},
    plan::EdgeKind,
    port::{OptionalOrPort, OptionalPort, OrPort, Port},
};

/// What can feed a stage that takes `In`.
///
/// | wire | feeds |
/// |---|---|
/// | `Port<T>` | `Arc<T>`, or `Owned<T>` |
/// | `port.optional()`, `a.or(b).optional()` | `Option<Arc<T>>` |
/// | `a.or(b)` | `Arc<T>` |
/// | `Vec<Port<T>>`, an array or a slice of ports | `Vec<Arc<T>>` |
/// | `Vec<OptionalPort<T>>` or an array of them | `Vec<Option<Arc<T>>>` |
/// | a name, an array, slice or `Vec` of names, [`names`] | `StageInputs` |
/// | a tuple of up to 12 of these | the tuple of what they feed |
/// | `()` | `()` |
///
/// The trait is sealed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot feed a stage that takes `{In}`",
    label = "does not match the stage's input",
    note = "a `Port<T>` feeds an `Arc<T>`; several inputs are a tuple of ports, in the order of the stage's tuple",
    note = "`port.optional()` feeds an `Option<Arc<T>>`, `a.or(b)` an `Arc<T>`, a `Vec` of ports a `Vec<Arc<T>>`, names a `StageInputs`"
)]
pub trait Wire<In: StageInput> {
    #[doc(hidden)]
    fn connect(self, wires: &mut Wires<'_>);
}

impl Wire<()> for () {
    fn connect(self, _: &mut Wires<'_>) {}
}

impl<T: Any + Send + Sync> Wire<Arc<T>> for Port<T> {
    fn connect(self, wires: &mut Wires<'_>) {
        wires.port(self.erase(), EdgeKind::One { owned: false });
    }
}

impl<T: Any + Clone + Send + Sync> Wire<Owned<T>> for Port<T> {
    fn connect(self, wires: &mut Wires<'_>) {
        wires.port(self.erase(), EdgeKind::One { owned: true });
    }
}

impl<T: Any + Send + Sync> Wire<Option<Arc<T>>> for OptionalPort<T> {
    fn connect(self, wires: &mut Wires<'_>) {
        wires.port(self.0.erase(), EdgeKind::Optional);
    }
}

impl<T: Any + Send + Sync> Wire<Arc<T>> for OrPort<T> {
    fn connect(self, wires: &mut Wires<'_>) {
        wires.group(self.sides(), false);
    }
}

impl<T: Any + Send + Sync> Wire<Option<Arc<T>>> for OptionalOrPort<T> {
    fn connect(self, wires: &mut Wires<'_>) {
        wires.group(self.0.sides(), true);
    }
}

macro_rules! lists {
    ($($list:ty;)+) => {$(
        impl<T: Any + Send + Sync> Wire<Vec<Arc<T>>> for $list {
            fn connect(self, wires: &mut Wires<'_>) {
                let ports: &[Port<T>] = self.as_ref();
                wires.many(ports.iter().map(|port| port.erase()), EdgeKind::One { owned: false });
            }
        }
    )+};
}

lists! {
    Vec<Port<T>>;
    &Vec<Port<T>>;
    &[Port<T>];
}

impl<T: Any + Send + Sync, const N: usize> Wire<Vec<Arc<T>>> for [Port<T>; N] {
    fn connect(self, wires: &mut Wires<'_>) {
        wires.many(self.iter().map(|port| port.erase()), EdgeKind::One { owned: false });
    }
}

impl<T: Any + Send + Sync> Wire<Vec<Option<Arc<T>>>> for Vec<OptionalPort<T>> {
    fn connect(self, wires: &mut Wires<'_>) {
        wires.many(self.iter().map(|port| port.0.erase()), EdgeKind::Optional);
    }
}

impl<T: Any + Send + Sync, const N: usize> Wire<Vec<Option<Arc<T>>>> for [OptionalPort<T>; N] {
    fn connect(self, wires: &mut Wires<'_>) {
        wires.many(self.iter().map(|port| port.0.erase()), EdgeKind::Optional);
    }
}

impl Wire<StageInputs> for Names {
    fn connect(self, wires: &mut Wires<'_>) {
        wires.named(self.into_items());
    }
}

impl Wire<StageInputs> for &str {
    fn connect(self, wires: &mut Wires<'_>) {
        names([self]).connect(wires);
    }
}

impl<const N: usize> Wire<StageInputs> for [&str; N] {
    fn connect(self, wires: &mut Wires<'_>) {
        names(self).connect(wires);
    }
}

impl Wire<StageInputs> for &[&str] {
    fn connect(self, wires: &mut Wires<'_>) {
        names(self.iter().copied()).connect(wires);
    }
}

impl Wire<StageInputs> for Vec<&str> {
    fn connect(self, wires: &mut Wires<'_>) {
        names(self).connect(wires);
    }
}

impl Wire<StageInputs> for Vec<String> {
    fn connect(self, wires: &mut Wires<'_>) {
        names(self).connect(wires);
    }
}

macro_rules! tuples {
    ($(($($wire:ident $part:ident)+))+) => {$(
        impl<$($part: StageInput, $wire: Wire<$part>),+> Wire<($($part,)+)> for ($($wire,)+) {
            fn connect(self, wires: &mut Wires<'_>) {
                #[expect(non_snake_case, reason = "each variable is named like its type")]
                let ($($wire,)+) = self;
                $($wire.connect(wires);)+
            }
        }
    )+};
}

tuples! {
    (A A1)
    (A A1 B B1)
    (A A1 B B1 C C1)
    (A A1 B B1 C C1 D D1)
    (A A1 B B1 C C1 D D1 E E1)
    (A A1 B B1 C C1 D D1 E E1 F F1)
    (A A1 B B1 C C1 D D1 E E1 F F1 G G1)
    (A A1 B B1 C C1 D D1 E E1 F F1 G G1 H H1)
    (A A1 B B1 C C1 D D1 E E1 F F1 G G1 H H1 I I1)
    (A A1 B B1 C C1 D D1 E E1 F F1 G G1 H H1 I I1 J J1)
    (A A1 B B1 C C1 D D1 E E1 F F1 G G1 H H1 I I1 J J1 K K1)
    (A A1 B B1 C C1 D D1 E E1 F F1 G G1 H H1 I I1 J J1 K K1 L L1)
}
