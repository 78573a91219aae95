//! Many stages from one call, with names that follow a rule.
