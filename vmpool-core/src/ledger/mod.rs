//! The ledger: each machine ever seen, with its end (P1).
