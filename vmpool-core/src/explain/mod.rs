//! Explain: a timeline with causes, from the journal.
