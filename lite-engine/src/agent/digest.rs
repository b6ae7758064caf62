//! Keyed digests of what a call asks for, one a field: by them the rules tell
//! a retry from something else of the same id, and name the field (P5).

use std::collections::HashMap;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use vmpool_core::agent::{Content, Digest};
use vmpool_proto::agent::v1::{Limits, PrepareRequest, Returns, StartStep};

/// Makes digests under this machine's key, which its `Debug` form does not show.
#[derive(Debug)]
pub(super) struct Digests(hmac::Key);

impl Digests {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(HMAC_SHA256, key))
    }

    pub(super) fn prepare(&self, request: &PrepareRequest) -> Content {
        let files = |field: &mut Field| {
            for file in &request.files {
                field
                    .part(&file.path)
                    .part(file.mode.to_be_bytes())
                    .part(&file.content);
            }
        };
        Content::new([
            self.field("workdir", |field| field.optional(request.workdir.as_ref())),
            self.field("env", |field| field.map(&request.env)),
            self.field("files", files),
            self.field("secrets", |field| field.list(&request.secrets)),
        ])
    }

    pub(super) fn start(&self, request: &StartStep) -> Content {
        let timeout = request.timeout_ms.map(u64::to_be_bytes);
        Content::new([
            self.field("command", |field| field.list(&request.command)),
            self.field("env", |field| field.map(&request.env)),
            self.field("secret_env", |field| field.map(&request.secret_env)),
            self.field("workdir", |field| field.optional(request.workdir.as_ref())),
            self.field("user", |field| field.optional(request.user.as_ref())),
            self.field("timeout_ms", |field| field.optional(timeout)),
            self.field("limits", |field| field.limits(request.limits.as_ref())),
            self.field("returns", |field| field.returns(request.returns.as_ref())),
        ])
    }

    fn field(&self, name: &'static str, feed: impl FnOnce(&mut Field)) -> (&'static str, Digest) {
        let mut field = Field(hmac::Context::with_key(&self.0));
        field.part(name);
        feed(&mut field);
        let mut digest = [0; 16];
        digest.copy_from_slice(&field.0.sign().as_ref()[..16]);
        (name, Digest(digest))
    }
}

/// One field's value, part by part. Each part goes behind its length, so that
/// no two values give the same bytes.
struct Field(hmac::Context);

impl Field {
    fn part(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    fn optional(&mut self, value: Option<impl AsRef<[u8]>>) {
        if let Some(value) = value {
            self.part(value);
        }
    }

    fn limits(&mut self, limits: Option<&Limits>) {
        let limits = limits.copied().unwrap_or_default();
        let named = [
            ("memory_bytes", limits.memory_bytes),
            ("processes", limits.processes),
        ];
        for (name, limit) in named {
            if let Some(limit) = limit {
                self.part(name).part(limit.to_be_bytes());
            }
        }
    }

    fn returns(&mut self, returns: Option<&Returns>) {
        let Some(returns) = returns else { return };
        for file in [&returns.outputs_file, &returns.secrets_file] {
            self.part(file.as_deref().unwrap_or_default());
        }
    }

    fn list(&mut self, values: &[String]) {
        for value in values {
            self.part(value);
        }
    }

    fn map(&mut self, map: &HashMap<String, String>) {
        let mut entries: Vec<_> = map.iter().collect();
        entries.sort_unstable();
        for (name, value) in entries {
            self.part(name).part(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step() -> StartStep {
        StartStep {
            command: vec!["sh".into(), "-c".into()],
            env: [("A", "1"), ("B", "2")]
                .map(|(k, v)| (k.into(), v.into()))
                .into(),
            ..StartStep::default()
        }
    }

    #[test]
    fn the_same_content_has_the_same_digests_whatever_surrounds_it() {
        let digests = Digests::new(&[7; 32]);
        let again = StartStep {
            term: 9,
            log_offset: 5,
            ..step()
        };
        assert_eq!(digests.start(&step()), digests.start(&again));
    }

    #[test]
    fn each_field_counts_and_is_named() {
        let digests = Digests::new(&[7; 32]);
        let before = digests.start(&step());
        let one = |key: &str| [(key.to_owned(), String::new())].into();
        let changes = [
            (
                "command",
                StartStep {
                    command: vec!["sh-c".into()],
                    ..step()
                },
            ),
            (
                "env",
                StartStep {
                    env: one("A"),
                    ..step()
                },
            ),
            (
                "secret_env",
                StartStep {
                    secret_env: one("A"),
                    ..step()
                },
            ),
            (
                "workdir",
                StartStep {
                    workdir: Some(String::new()),
                    ..step()
                },
            ),
            (
                "user",
                StartStep {
                    user: Some("u".into()),
                    ..step()
                },
            ),
            (
                "timeout_ms",
                StartStep {
                    timeout_ms: Some(0),
                    ..step()
                },
            ),
            (
                "limits",
                StartStep {
                    limits: Some(Limits {
                        memory_bytes: None,
                        processes: Some(7),
                    }),
                    ..step()
                },
            ),
        ];
        for (field, changed) in changes {
            assert_eq!(before.difference(&digests.start(&changed)), Some(field));
        }
    }

    #[test]
    fn another_machine_s_key_gives_other_digests() {
        let (one, other) = (Digests::new(&[7; 32]), Digests::new(&[8; 32]));
        assert_ne!(one.start(&step()), other.start(&step()));
    }
}
