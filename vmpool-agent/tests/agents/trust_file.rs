//! P11: the deployment's file is made once, and only its owner can read it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Barrier;

use vmpool_agent::{Authority, AuthorityError};

fn mode(path: &Path) -> u32 {
    fs::metadata(path)
        .expect("it is there")
        .permissions()
        .mode()
        & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

#[test]
fn p11_the_file_and_its_folder_are_their_owners_alone() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("state/trust");
    Authority::open_or_create(&folder).expect("a deployment");
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("trust.pem")), 0o600);
    let names: Vec<_> = fs::read_dir(&folder).expect("a folder").collect();
    assert_eq!(names.len(), 1, "and there is nothing else: {names:?}");
}

#[test]
fn p1_of_many_runners_that_start_at_once_all_get_the_same_deployment() {
    let parent = tempfile::tempdir().expect("a folder");
    for round in 0..8 {
        let folder = parent.path().join(round.to_string());
        let barrier = Barrier::new(8);
        let start = || {
            barrier.wait();
            Authority::open_or_create(&folder).expect("a deployment")
        };
        let found = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .collect::<Vec<_>>()
        });
        for authority in &found {
            assert_eq!(authority.deployment(), found[0].deployment());
            assert_eq!(authority.ca_pem(), found[0].ca_pem());
        }
        assert_eq!(
            fs::read_dir(&folder).expect("a folder").count(),
            1,
            "nothing is left over"
        );
    }
}

#[test]
fn a_deployment_is_the_same_after_a_restart_and_another_in_another_folder() {
    let (one, two) = (
        tempfile::tempdir().expect("one"),
        tempfile::tempdir().expect("two"),
    );
    let open = |folder: &Path| Authority::open_or_create(folder).expect("a deployment");
    let first = open(one.path());
    assert_eq!(open(one.path()).runner_name(), first.runner_name());
    assert_eq!(open(one.path()).ca_pem(), first.ca_pem());
    assert_ne!(open(two.path()).deployment(), first.deployment());
    assert_ne!(
        Authority::ephemeral().expect("one").deployment(),
        first.deployment()
    );
}

#[test]
fn p11_a_file_that_others_can_read_is_refused_with_the_way_to_mend_it() {
    let folder = tempfile::tempdir().expect("a folder");
    Authority::open_or_create(folder.path()).expect("a deployment");
    let file = folder.path().join("trust.pem");
    for exposed in [0o640, 0o604, 0o644, 0o660, 0o610] {
        set_mode(&file, exposed);
        let error = Authority::open_or_create(folder.path()).expect_err("refused");
        assert!(matches!(error, AuthorityError::Exposed { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("has mode {exposed:04o}")), "{text}");
        assert!(
            text.contains(&format!("chmod 600 {}", file.display())),
            "{text}"
        );
    }
    set_mode(&file, 0o400);
    Authority::open_or_create(folder.path()).expect("for its owner alone");
}

#[test]
fn p11_a_folder_that_others_can_write_to_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    set_mode(folder.path(), 0o777);
    let error = Authority::open_or_create(folder.path()).expect_err("refused");
    assert!(error.to_string().contains("chmod 700"), "{error}");
    assert_eq!(
        fs::read_dir(folder.path()).expect("a folder").count(),
        0,
        "nothing was made"
    );
    set_mode(folder.path(), 0o755);
    Authority::open_or_create(folder.path()).expect("others may look, and see a closed file");
}

#[test]
fn p13_a_damaged_file_is_named_and_never_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    Authority::open_or_create(folder.path()).expect("a deployment");
    let file = folder.path().join("trust.pem");
    let whole = fs::read_to_string(&file).expect("text");
    let without = |tag: &str| {
        let (before, rest) = whole
            .split_once(&format!("-----BEGIN {tag}-----"))
            .expect("begins");
        let (_, after) = rest
            .split_once(&format!("-----END {tag}-----"))
            .expect("ends");
        format!("{before}{after}")
    };
    for damaged in [
        String::new(),
        "no PEM".to_owned(),
        whole[..whole.len() / 2].to_owned(),
        without("CERTIFICATE"),
        without("PRIVATE KEY"),
        without("VMPOOL ENROLMENT KEY"),
        without("VMPOOL DEPLOYMENT ID"),
    ] {
        fs::write(&file, &damaged).expect("written");
        let error = Authority::open_or_create(folder.path()).expect_err("refused");
        assert!(matches!(error, AuthorityError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("trust.pem"), "{error}");
        assert_eq!(fs::read_to_string(&file).expect("text"), damaged);
    }
}
