//! What EC2 told of a pool's specification: its image, and a security group
//! where the file names none. Asked at each start, and kept in the state
//! directory: a runner that is started while the account is away (throttled,
//! no network) goes on with what it was told last, and what is warm is served.
//!
//! The last answer counts for the same question only. That EC2 says no to the
//! question itself is never covered up (P13).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use vmpool_aws::Ec2Account;
use vmpool_aws::image::ImageName;
use vmpool_aws::security_group::Admits;
use vmpool_core::account::{CallKind, Priority};
use vmpool_core::{ErrorKind, Owner, ProviderError};
use vmpool_pipeline::AmazonSpec;

const FILE: &str = "ec2-answers.json";

/// What the file leaves open, answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Found {
    /// The image's id.
    pub(super) image: String,
    /// Its root device; empty: not told.
    pub(super) device: String,
    /// The size of its root volume.
    pub(super) gib: u32,
    /// The group that was made, where the file names none.
    pub(super) security_group: Option<String>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    account: String,
    owner: Owner,
    ami: String,
    ami_owners: Vec<String>,
    sizes: Vec<String>,
    port: u16,
    admits: Option<Vec<String>>,
    vpc: Option<String>,
}

/// The last answers, by pool.
#[derive(Debug)]
pub(super) struct Answers(PathBuf);

#[derive(Default, Serialize, Deserialize)]
struct Kept(BTreeMap<String, (Question, Found)>);

impl Question {
    pub(super) fn of(spec: &AmazonSpec, account: &str, owner: &Owner, port: u16) -> Self {
        let network = &spec.network;
        Self {
            account: account.to_owned(),
            owner: owner.clone(),
            ami: spec.ami.clone(),
            ami_owners: spec.ami_owners.clone(),
            sizes: spec.sizes.clone(),
            port,
            admits: (network.security_groups.is_empty()).then(|| network.allow_from.clone()),
            vpc: spec.vpc.clone(),
        }
    }

    /// Asks EC2, within the account's budget.
    async fn ask(&self, account: &Ec2Account) -> anyhow::Result<Found> {
        let (ec2, budget) = (account.ec2(), account.budget());
        let (kind, priority) = (CallKind::Other, Priority::Request);
        let image = ImageName::of(&self.ami, self.ami_owners.clone());
        let image = budget.call(kind, priority, Box::pin(image.find(ec2, account.ssm())));
        let image = image.await.context("spec.ami")?;
        let fits = budget.call(
            kind,
            priority,
            Box::pin(image.check_types(ec2, &self.sizes)),
        );
        fits.await.context("spec.size")?;
        let mut security_group = None;
        if let Some(ranges) = self.admits.clone() {
            let admits = Admits {
                owner: self.owner.clone(),
                port: self.port,
                ranges,
                vpc: self.vpc.clone(),
            };
            let made = Box::pin(admits.find_or_make(ec2));
            let made = budget.call(kind, priority, made).await;
            security_group = Some(made.context("spec.network.security_groups, or allow_from")?);
        }
        Ok(Found {
            image: image.id,
            device: image.device,
            gib: image.gib,
            security_group,
        })
    }
}

impl Answers {
    /// Those of a state directory.
    pub(super) fn in_folder(state: &Path) -> Self {
        Self(state.join(FILE))
    }

    /// EC2's answer, or its last one where it does not answer now.
    ///
    /// # Errors
    /// EC2 says no, or it is away and never told.
    pub(super) async fn ask(
        &self,
        pool: &str,
        question: Question,
        account: &Ec2Account,
    ) -> anyhow::Result<Found> {
        match question.ask(account).await {
            Ok(found) => {
                let saved = self.keep(pool, question, &found);
                if let Err(error) = saved.with_context(|| format!("write {}", self.0.display())) {
                    let error = format!("{error:#}");
                    tracing::warn!(pool, error, "a start without EC2 would have no answers");
                }
                Ok(found)
            }
            Err(error) => match self.last(pool, &question) {
                Some(found) if is_away(&error) => {
                    let error = format!("{error:#}");
                    let image = &found.image;
                    tracing::warn!(
                        pool,
                        error,
                        image,
                        "EC2 does not say: its last answer counts"
                    );
                    Ok(found)
                }
                _ => Err(error),
            },
        }
    }

    fn last(&self, pool: &str, question: &Question) -> Option<Found> {
        let Kept(mut all) = self.read();
        let (asked, found) = all.remove(pool)?;
        (asked == *question).then_some(found)
    }

    /// A file that can't be read has no answers: they are asked for at each start.
    fn read(&self) -> Kept {
        let text = fs::read(&self.0).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn keep(&self, pool: &str, question: Question, found: &Found) -> io::Result<()> {
        let mut kept = self.read();
        kept.0.insert(pool.to_owned(), (question, found.clone()));
        let folder = self.0.parent().unwrap_or_else(|| Path::new("."));
        // Nobody else can read it, and nobody finds half of it.
        let mut file = NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut file, &kept)?;
        file.persist(&self.0)?;
        Ok(())
    }
}

/// EC2 did not say no to the question itself: it was not reached, takes no
/// calls at the moment, or has lost its trust in the runner.
fn is_away(error: &anyhow::Error) -> bool {
    let said = error.downcast_ref::<ProviderError>();
    said.is_some_and(|said| said.kind != ErrorKind::BadSpec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(ami: &str) -> Question {
        Question {
            account: "eu-west-1".to_owned(),
            owner: "ci".into(),
            ami: ami.to_owned(),
            ami_owners: Vec::new(),
            sizes: vec!["m6i.large".to_owned()],
            port: 9079,
            admits: None,
            vpc: None,
        }
    }

    #[test]
    fn the_last_answer_counts_for_the_same_question_of_the_same_pool() {
        let folder = tempfile::tempdir().unwrap();
        let answers = Answers::in_folder(folder.path());
        let found = Found {
            image: "ami-1".to_owned(),
            device: "/dev/sda1".to_owned(),
            gib: 8,
            security_group: Some("sg-1".to_owned()),
        };
        assert_eq!(answers.last("linux", &question("a")), None);
        answers.keep("linux", question("a"), &found).unwrap();
        assert_eq!(answers.last("linux", &question("a")), Some(found));
        assert_eq!(answers.last("linux", &question("b")), None);
        assert_eq!(answers.last("other", &question("a")), None);
        fs::write(&answers.0, "half of").unwrap();
        assert_eq!(answers.last("linux", &question("a")), None);
    }

    #[test]
    fn p13_a_no_is_never_covered_up() {
        let said = |kind| {
            let error = ProviderError::new(kind, "find image ami-1");
            anyhow::Error::new(error).context("spec.ami")
        };
        assert!(is_away(&said(ErrorKind::Transient)));
        let throttled = ErrorKind::Throttled { retry_after: None };
        assert!(is_away(&said(throttled)));
        assert!(!is_away(&said(ErrorKind::BadSpec)));
    }
}
