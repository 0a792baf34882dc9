//! Mutants that no simulation can notice, and why.

/// Each with what stands in its way, and the test that notices it instead.
pub(super) const EXCUSED: &[(&str, &str)] = &[];

/// Why no simulation can notice this mutant.
pub(super) fn why(mutant: &str) -> Option<&'static str> {
    EXCUSED.iter().find(|(name, _)| *name == mutant).map(|(_, why)| *why)
}
