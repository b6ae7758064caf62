//! What of other services belongs to launching machines: who one is (STS),
//! which image a parameter names (SSM), what the quotas are.

mod json;
mod sts;
