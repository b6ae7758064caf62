//! deploy/aws/policy.json: what it allows is what the code calls in a life of
//! all that there is, no more and no less.

use std::collections::BTreeSet;

use fake_ec2::Policy;
use serde_json::Value;
use vmpool_aws::image::ImageName;
use vmpool_aws::security_group::Admits;
use vmpool_aws::{Markets, Preference, Template};
use vmpool_core::{MachineId, Provider};

use crate::support::{Site, launched, template, zones};

const POLICY: &str = include_str!("../../../deploy/aws/policy.json");
const DOCS: &str = include_str!("../../../docs/ec2.md");

/// The actions that the policy allows, in whatever statement. What `doctor`
/// asks beyond them has statements of its own.
fn allowed() -> BTreeSet<String> {
    let policy: Value = serde_json::from_str(POLICY).expect("JSON");
    let statements = policy["Statement"].as_array().expect("statements");
    let of = |statement: &Value| match &statement["Action"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(many) => {
            let texts = many.iter().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        }
        other => panic!("{other}"),
    };
    let doctors = |statement: &&Value| {
        let sid = statement["Sid"].as_str();
        sid.is_some_and(|sid| sid.starts_with("Doctor"))
    };
    let others = statements.iter().filter(|statement| !doctors(statement));
    others.flat_map(of).collect()
}

#[tokio::test]
async fn the_policy_allows_what_the_code_calls_and_nothing_else() {
    let allowed = allowed();
    let site = Site::new().await;
    let policy = Policy::only(allowed.iter().map(String::as_str));
    site.cloud().policy("AKIAFAKE", policy);
    prepare(&site).await;
    live(&site).await;
    let needed = site.cloud().with(|cloud, _| cloud.record.needs().clone());
    assert_eq!(allowed, needed, "the policy's, and the fake's record");
}

#[test]
fn the_documentation_gives_the_reason_for_each_permission() {
    let rows: BTreeSet<_> = DOCS
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(action, _)| action.to_owned())
        .filter(|action| action.contains(':'))
        .collect();
    let missing: Vec<_> = allowed().difference(&rows).cloned().collect();
    assert!(missing.is_empty(), "docs/ec2.md, Permissions: {missing:?}");
}

/// What is asked before the first launch.
async fn prepare(site: &Site) {
    let parameter = "resolve:ssm:/aws/service/canonical/ubuntu/server/24.04/stable/current/\
                     amd64/hvm/ebs-gp3/ami-id";
    let image = ImageName::of(parameter, Vec::new());
    let image = image.find(&site.ec2(), &site.ssm()).await;
    let fits = image.expect("found");
    let types = ["m6i.large".to_owned()];
    let fits = fits.check_types(&site.ec2(), &types).await;
    fits.expect("it fits");
    let admits = Admits {
        owner: "ci".into(),
        port: 9079,
        ranges: vec!["10.0.0.0/16".to_owned()],
        vpc: None,
    };
    admits.find_or_make(&site.ec2()).await.expect("a group");
}

/// Machines of each kind, from launch to end.
async fn live(site: &Site) {
    let mut one = template();
    one.types = vec!["m5.large".to_owned()];
    one.machine.profile = Some("arn:aws:iam::111122223333:instance-profile/builder".to_owned());
    one.machine.hibernate = true;
    let several = Template {
        zones: zones("ab"),
        markets: Markets::SpotThenOnDemand,
        preference: Preference::Cheapest,
        ..template()
    };
    let one = site.provider(one);
    let several = site.provider(several);
    let mut ids: Vec<MachineId> = Vec::new();
    for (name, provider) in [("one", &one), ("several", &several)] {
        let outcome = launched(provider, name, 2).await;
        assert_eq!(outcome.machines.len(), 2, "{outcome:?}");
        ids.extend(outcome.machines.into_iter().map(|machine| machine.id));
        provider.list(&"ci".into()).await.expect("a listing");
    }
    let tags = [("accountID".to_owned(), "acme".to_owned())].into();
    one.tag(&ids[0], &tags).await.expect("tagged");
    one.suspend(&ids[0]).await.expect("asleep");
    one.resume(&ids[0]).await.expect("awake");
    one.diagnose(&ids[0]).await.expect("its state");
    one.terminate(&ids).await.expect("ended");
    assert_eq!(site.alive(), 0);
}
