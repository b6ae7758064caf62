//! What is asked of EC2 before the first launch: images, types, groups (P13).

use vmpool_aws::image::ImageName;
use vmpool_aws::security_group::Admits;
use vmpool_core::ErrorKind;

use crate::support::{Site, template, told};

async fn find(site: &Site, name: &str) -> Result<String, String> {
    let name = ImageName::of(name, vec!["099720109477".to_owned()]);
    match name.find(&site.ec2(), &site.ssm()).await {
        Ok(image) => Ok(image.id),
        Err(error) => Err(told(&error)),
    }
}

#[tokio::test]
async fn an_image_is_found_by_id_by_name_and_by_parameter() {
    let site = Site::new().await;
    let newest = template().image;
    assert_eq!(find(&site, &newest).await.as_ref(), Ok(&newest));
    let name = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*";
    assert_eq!(find(&site, name).await.as_ref(), Ok(&newest), "the newest");
    let parameter = "resolve:ssm:/aws/service/canonical/ubuntu/server/24.04/stable/current/\
                     amd64/hvm/ebs-gp3/ami-id";
    assert_eq!(find(&site, parameter).await.as_ref(), Ok(&newest));
}

#[tokio::test]
async fn p13_an_image_that_is_not_there_is_told_by_its_name() {
    let site = Site::new().await;
    let error = find(&site, "no-such-image").await.expect_err("none");
    assert!(
        error.contains("find an image named no-such-image"),
        "{error}"
    );
    assert!(error.contains("owners: 099720109477"), "{error}");
    let error = find(&site, "resolve:ssm:/no/such").await.expect_err("none");
    assert!(error.contains("read the parameter /no/such"), "{error}");
    let error = find(&site, "ami-0123456789abcdef0")
        .await
        .expect_err("none");
    assert!(error.contains("InvalidAMIID.NotFound"), "{error}");
}

#[tokio::test]
async fn p13_a_type_that_can_t_run_the_image_is_told_before_the_first_launch() {
    let site = Site::new().await;
    let name = ImageName::of(&template().image, Vec::new());
    let image = name.find(&site.ec2(), &site.ssm()).await.expect("found");
    assert_eq!((image.device.as_str(), image.gib), ("/dev/sda1", 8));
    let fits = image
        .check_types(&site.ec2(), &["m6i.large".to_owned()])
        .await;
    fits.expect("of the same architecture");
    let arm = image
        .check_types(&site.ec2(), &["m6g.large".to_owned()])
        .await;
    let error = arm.expect_err("of another architecture");
    assert_eq!(error.kind, ErrorKind::BadSpec);
    let text = told(&error);
    assert!(
        text.contains("the image is for x86_64, and m6g.large runs arm64"),
        "{text}"
    );
    let none = image
        .check_types(&site.ec2(), &["m99.huge".to_owned()])
        .await;
    assert_eq!(none.expect_err("no such type").kind, ErrorKind::BadSpec);
}

#[tokio::test]
async fn p12_a_group_is_made_once_and_admits_the_named_ranges_alone() {
    let site = Site::new().await;
    let admits = Admits {
        owner: "ci".into(),
        port: 9079,
        ranges: vec!["10.0.0.0/16".to_owned()],
        vpc: None,
    };
    let id = admits.find_or_make(&site.ec2()).await.expect("made");
    let wider = Admits {
        ranges: vec!["10.0.0.0/16".to_owned(), "10.9.0.0/16".to_owned()],
        ..admits.clone()
    };
    assert_eq!(wider.find_or_make(&site.ec2()).await.expect("found"), id);
    assert_eq!(site.calls("CreateSecurityGroup"), 1);
    assert_eq!(site.calls("AuthorizeSecurityGroupIngress"), 2);
    let nobody = Admits {
        ranges: Vec::new(),
        ..admits
    };
    let error = nobody
        .find_or_make(&site.ec2())
        .await
        .expect_err("no ranges");
    assert_eq!(error.kind, ErrorKind::BadSpec);
}
