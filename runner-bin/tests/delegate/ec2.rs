//! What of the API only a cloud shows: tags and zones, cases 10, 14, 26, 27 and 37.

use serde_json::json;

use crate::cloud::Cloud;
use crate::support::{setup, step, wait_for};

#[tokio::test]
async fn case_10_14_26_tags_are_written_after_the_answer_which_names_the_zone() {
    let keys = "";
    let cloud = Cloud::with("eu-west-1", 1, 2, keys).await;
    let _runner = cloud.serve().await;
    let site = &cloud.site;
    let mut body = setup("s");
    body["tags"] = json!({"accountID": "acme", "buildNumber": "7"});
    let answered = site.insist("/setup", &body).await;
    let machine = answered.machine();
    let info = answered.json()["instance_info"].clone();
    assert_eq!(
        (&info["provider"], &info["port"]),
        (&json!("amazon"), &json!(9079))
    );
    let zone = info["zone"].as_str().expect("a zone");
    assert!(zone.starts_with("eu-west-1"), "{info}");
    wait_for("the tags", async || {
        cloud.fake.control().with(|cloud, _| {
            let mut instances = cloud.instances();
            let found = instances.find(|(_, _, instance)| instance.id == machine);
            let (_, _, instance) = found.expect("the machine");
            let has = |key: &str, value: &str| {
                instance
                    .tags
                    .iter()
                    .any(|(k, v)| k.as_str() == key && v.as_str() == value)
            };
            assert!(has("vmpool:pool", "linux"), "ours stay");
            (has("accountID", "acme") && has("buildNumber", "7")).then_some(())
        })
    })
    .await;
    let counted = cloud
        .fake
        .control()
        .with(|cloud, _| cloud.record.count("CreateTags"));
    assert_eq!(counted, 1, "one call for all of them");
    let untagged = site.insist("/step", &step("s", "hi", "true")).await;
    assert_eq!(untagged.json(), json!({"exited": true}));
    site.destroy("s").await;
    cloud.wait_until_replaced(&machine).await;
    site.setup("without").await;
    site.destroy("without").await;
    let counted = cloud
        .fake
        .control()
        .with(|cloud, _| cloud.record.count("CreateTags"));
    assert_eq!(counted, 1, "case 14: no tags, no call");
    cloud.end().await;
}

#[tokio::test]
async fn case_37_a_machine_is_launched_in_the_zone_that_is_asked_for() {
    let zones = "    zone_details:\n    - {availability_zone: eu-west-1a}\n    - \
                 {availability_zone: eu-west-1b}\n    - {availability_zone: eu-west-1c}\n";
    let cloud = Cloud::with("eu-west-1", 0, 3, zones).await;
    let _runner = cloud.serve().await;
    for (stage, wished, known) in [
        ("s", "eu-west-1b", true),
        ("t", "eu-west-1c", true),
        ("u", "us-east-9z", false),
    ] {
        let mut body = setup(stage);
        body["zone"] = json!(wished);
        let answered = cloud.site.insist("/setup", &body).await.json();
        let zone = &answered["instance_info"]["zone"];
        assert_eq!(zone == wished, known, "{answered}");
        cloud.site.destroy(stage).await;
    }
    cloud.end().await;
}
