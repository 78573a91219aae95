//! Erased values and inputs by name.

use std::sync::Arc;

use crate::{StageInputs, Value, code, value::TypeTag};

#[test]
fn a_value_is_of_its_type_and_no_other() {
    let value = Value::new(String::from("x"));
    assert!(value.is::<String>() && !value.is::<&str>() && !value.is::<Arc<String>>());
    assert_eq!(value.downcast_ref::<String>().map(String::as_str), Some("x"));
    assert!(TypeTag::of::<String>().matches(&value) && !TypeTag::of::<u8>().matches(&value));
    let back = value.downcast::<u8>().unwrap_err();
    assert_eq!(*back.downcast::<String>().unwrap(), "x", "it is given back");
}

#[test]
fn sharing_a_value_copies_nothing() {
    let shared = Arc::new(7_u32);
    let value = Value::from_arc(Arc::clone(&shared));
    assert!(Arc::ptr_eq(&value.clone().downcast::<u32>().unwrap(), &shared));
    assert_eq!(format!("{value:?}"), "Value(..)", "payloads are never printed");
}

#[test]
fn a_unit_is_a_value_like_any_other() {
    for value in [Value::new(()), Value::from_arc(Arc::new(()))] {
        assert!(value.is::<()>() && TypeTag::of::<()>().matches(&value));
        assert_eq!(value.downcast_ref::<()>(), Some(&()));
        assert!(value.clone().downcast::<u8>().is_err());
        assert!(value.downcast::<()>().is_ok());
    }
}

/// S-12: each way in which an input is not there has its own code.
#[test]
fn inputs_by_name_have_distinct_errors() {
    let inputs = StageInputs::for_test("join").with("there", 7_u32).skipped("skipped").with("unit", ());
    assert_eq!(*inputs.get_from::<u32>("there").unwrap(), 7);
    assert!(inputs.get_from::<()>("unit").is_ok());
    let code = |name| inputs.get_from::<u32>(name).unwrap_err().code();
    assert_eq!(
        (code("skipped"), code("typo"), code("unit")),
        (code::INPUT_SKIPPED, code::UNDECLARED_DEP, code::WRONG_TYPE)
    );
    assert_eq!(inputs.get_optional::<u32>("skipped").unwrap(), None);
    assert_eq!(inputs.get_optional::<u32>("there").unwrap().as_deref(), Some(&7));
    assert_eq!(inputs.get_optional::<String>("there").unwrap_err().code(), code::WRONG_TYPE);
    assert_eq!(inputs.get_optional::<u32>("typo").unwrap_err().code(), code::UNDECLARED_DEP);
    assert_eq!(inputs.names().collect::<Vec<_>>(), ["there", "skipped", "unit"]);
}

#[test]
fn errors_of_inputs_say_what_was_read_and_what_there_is() {
    let inputs = StageInputs::for_test("join").with("a", 1_u32).with("b", 2_u32);
    let said = |name: &str| inputs.get_from::<String>(name).unwrap_err().to_string();
    assert_eq!(said("c"), "stage `join` reads `c`, which is not among its inputs (`a`, `b`)");
    assert_eq!(said("a"), "the output of `a` is not a `String`");
    let none = StageInputs::for_test("alone").get_from::<u32>("x").unwrap_err();
    assert_eq!(none.to_string(), "stage `alone` reads `x`, which is not among its inputs (it has none)");
}
