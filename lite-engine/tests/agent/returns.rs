//! What steps return, to their caller and to later steps.

use vmpool_proto::agent::v1::{Returns, StartStep, Variable};

use crate::support::{Disk, Run, attach, exited, run, shell};

fn returning(id: &str, script: &str) -> StartStep {
    StartStep {
        returns: Some(Returns::default()),
        ..shell(id, script)
    }
}

fn variable(name: &str, value: &str, is_secret: bool) -> Variable {
    Variable {
        name: name.into(),
        value: value.into(),
        is_secret,
    }
}

#[tokio::test]
async fn p4_what_a_step_returned_is_told_again_and_reaches_later_steps_after_a_restart() {
    let disk = Disk::new();
    let (agent, runner) = disk.prepared().await;
    let script = "echo A=1 >> $DRONE_OUTPUT; echo T=hush >> $HARNESS_OUTPUT_SECRET_FILE; \
                  echo E=2 >> $DRONE_ENV; sleep 0.2; echo hush";
    let (ended, log) = run(&runner, returning("one", script)).await;
    let returned = ended.returned.clone().expect("variables");
    assert_eq!(
        returned.outputs,
        [variable("A", "1", false), variable("T", "hush", true)]
    );
    assert_eq!(returned.exported["E"], "2");
    assert!(!log.contains("hush"), "P11: {log:?}");
    agent.close().await;
    drop((agent, runner));

    let (_agent, runner) = disk.ruled().await;
    let mut again = Run::attach(&runner, attach("one", 0))
        .await
        .expect("it is there");
    assert_eq!(again.end().await.expect("ended"), ended);
    let (_, log) = run(&runner, returning("two", "echo $E")).await;
    assert_eq!(log, "2\n");
    let (plain, log) = run(&runner, shell("three", "echo [$E$DRONE_ENV]")).await;
    assert!(exited(&plain, 0) && plain.returned.is_none(), "{plain:?}");
    assert_eq!(log, "[]\n", "who returns nothing is given nothing");
}

#[tokio::test]
async fn p13_a_file_of_variables_that_can_not_be_read_is_told_and_no_other_file_is() {
    let disk = Disk::new();
    let (_agent, runner) = disk.prepared().await;
    for (id, script) in [
        ("link", "ln -s /etc/passwd $DRONE_OUTPUT"),
        ("folder", "mkdir $DRONE_OUTPUT"),
        ("large", "head -c 2000000 /dev/zero > $DRONE_OUTPUT"),
        ("none", "echo text > $DRONE_OUTPUT"),
    ] {
        let (ended, _) = run(&runner, returning(id, script)).await;
        let returned = ended.returned.expect("a reason");
        assert!(
            returned.trouble.is_some() && returned.outputs.is_empty(),
            "{id}: {returned:?}"
        );
    }
}
