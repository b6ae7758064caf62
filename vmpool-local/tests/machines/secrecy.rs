//! The enrolment secret is nowhere but in the agent (P11).

use std::fs;
use std::path::Path;

use crate::harness::{Agent, Place, marked};
use crate::order::{order, secret};
use vmpool_core::Provider;

#[tokio::test(flavor = "multi_thread")]
async fn p11_the_secret_is_in_no_argument_no_environment_and_no_file() {
    let place = Place::new();
    let id = crate::harness::unique("order");
    let order = order(&place.provider, place.owner.as_str(), &id, 1, true);
    let machine = place.provider.launch(&order).await.machines.remove(0);
    let mut agent = Agent::dial(machine.address.expect("an address"));
    let secret = secret(&id);
    assert_eq!(agent.ask("secret"), secret, "the agent has it");

    let is_secret = |bytes: &[u8]| forms(&secret).iter().any(|form| contains(bytes, form));
    let request = order.request.expose();
    assert!(
        is_secret(request),
        "the forms looked for are those that are used"
    );
    let processes: Vec<i32> = marked().into_keys().collect();
    assert!(!processes.is_empty());
    for pid in processes {
        for what in ["cmdline", "environ"] {
            let bytes = fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
            assert!(!is_secret(&bytes), "in {what} of {pid}");
        }
    }
    let mut files = 0;
    walk(&place.root(), &mut |path| {
        files += 1;
        assert!(
            !is_secret(&fs::read(path).expect("read")),
            "in {}",
            path.display()
        );
    });
    assert!(files >= 2, "the machine's record and console");
    assert!(!format!("{order:?} {:?}", place.provider).contains(&secret));
}

/// The secret as text, as JSON numbers, in hexadecimal.
fn forms(secret: &str) -> [Vec<u8>; 3] {
    let numbers: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
    let hex: Vec<String> = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    [secret.into(), numbers.join(",").into(), hex.concat().into()]
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

fn walk(dir: &Path, seen: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(dir).expect("listed") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_dir() {
            walk(&entry.path(), seen);
        } else {
            seen(&entry.path());
        }
    }
}
