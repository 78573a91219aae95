//! Tests of configurations: what each becomes, and what is refused.
