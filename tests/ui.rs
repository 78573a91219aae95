//! What must not compile, and what the compiler says then.
//!
//! After a deliberate change of a message: `TRYBUILD=overwrite cargo test -p stageflow-tests --test ui`.

#[test]
fn wiring_mistakes_do_not_compile() {
    trybuild::TestCases::new().compile_fail("ui/*.rs");
}
