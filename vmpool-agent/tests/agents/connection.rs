//! P6, P2: one kept connection, what it says of a machine's health, and whose
//! term rules.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use tokio::net::TcpListener;
use vmpool_core::{AgentLink, Health, LinkError, Machine, MachineId, Term};

use crate::machine::{Deployment, Host, health, own_ip, soon, until};
use crate::network::Cable;

fn through(cable: &Cable, host: &Host) -> Machine {
    Machine {
        address: Some(cable.address),
        ..host.machine()
    }
}

#[tokio::test]
async fn p6_a_machine_whose_agent_dies_is_lost_at_once() {
    let deployment = Deployment::new();
    let mut host = deployment.machine("m-1").await;
    deployment.open(host.machine()).await.expect("a connection");
    host.kill();
    let seen = health(&deployment.agents, &host.id, "its loss", |health| {
        matches!(health, Health::Lost { .. })
    });
    let Health::Lost { reason } = seen.await else {
        unreachable!("waited for")
    };
    assert!(!reason.is_empty());
    let error = deployment
        .agents
        .renew(&host.id, Term(1))
        .await
        .expect_err("it is gone");
    assert!(matches!(error, LinkError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn p6_a_machine_that_falls_silent_is_lost_by_its_pings() {
    let deployment = Deployment::new();
    let host = deployment.machine("m-1").await;
    let cable = Cable::to(host.address()).await;
    deployment
        .open(through(&cable, &host))
        .await
        .expect("a connection");
    cable.pull();
    let seen = health(&deployment.agents, &host.id, "its loss", |health| {
        matches!(health, Health::Lost { .. })
    });
    let Health::Lost { reason } = seen.await else {
        unreachable!("waited for")
    };
    assert!(reason.contains("keep-alive timed out"), "{reason}");
}

#[tokio::test]
async fn p6_pings_alone_keep_a_machines_last_answer_fresh() {
    let deployment = Deployment::new();
    let host = deployment.machine("m-1").await;
    deployment.open(host.machine()).await.expect("a connection");
    let health = deployment.agents.health(&host.id);
    let Health::Answering { at: first } = *health.borrow() else {
        panic!("it answers")
    };
    until(
        "later answers",
        || matches!(*health.borrow(), Health::Answering { at } if at > first),
    )
    .await;
    assert!(
        !health.has_changed().expect("the link is there"),
        "and nobody is woken for that"
    );
}

#[tokio::test]
async fn p2_a_runner_with_a_lower_term_is_fenced() {
    let deployment = Deployment::new();
    let host = deployment.machine("m-1").await;
    host.stub.book(|book| book.term = 9);
    match deployment.open(host.machine()).await.expect_err("fenced") {
        LinkError::Fenced {
            machine,
            ours,
            theirs,
        } => {
            assert_eq!((machine, ours, theirs), (host.id.clone(), Term(1), Term(9)));
        }
        error => panic!("{error}"),
    }
    assert!(
        !deployment.agents.health(&host.id).borrow().is_answering(),
        "not ours to hand out"
    );
}

#[tokio::test]
async fn p2_a_renewal_with_a_lower_term_is_fenced() {
    let deployment = Deployment::new();
    let host = deployment.machine("m-1").await;
    deployment.open(host.machine()).await.expect("a connection");
    deployment
        .agents
        .renew(&host.id, Term(1))
        .await
        .expect("ours");
    host.stub.book(|book| book.term = 2);
    let error = deployment
        .agents
        .renew(&host.id, Term(1))
        .await
        .expect_err("fenced");
    assert!(
        matches!(
            error,
            LinkError::Fenced {
                theirs: Term(2),
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_connection_that_is_open_is_used_again() {
    let deployment = Deployment::new();
    let host = deployment.machine("m-1").await;
    let cable = Cable::to(host.address()).await;
    let machine = through(&cable, &host);
    let both = tokio::join!(
        deployment.open(machine.clone()),
        deployment.open(machine.clone())
    );
    assert!(both.0.is_ok() && both.1.is_ok());
    deployment.open(machine).await.expect("a connection");
    assert_eq!(
        cable.connections.load(Ordering::Relaxed),
        2,
        "one to enrol, one to keep"
    );
    assert_eq!(
        host.stub.book(|book| book.opens),
        3,
        "the term is put each time"
    );
}

#[tokio::test]
async fn p3_a_machine_that_still_boots_is_dialled_until_it_answers_and_its_trouble_is_told() {
    let deployment = Deployment::new();
    let mut host = deployment.host("m-1");
    let free = TcpListener::bind((own_ip(), 0)).await.expect("an address");
    host.address = Some(free.local_addr().expect("an address"));
    drop(free);
    let machine = host.machine();
    let boots = async {
        let refused = |trouble: String| trouble.contains("refused");
        until("a refusal", || {
            deployment.agents.trouble(&host.id).is_some_and(refused)
        })
        .await;
        host.boot().await;
    };
    let (opened, ()) = tokio::join!(deployment.open(machine), boots);
    opened.expect("a connection");
    assert_eq!(deployment.agents.trouble(&host.id), None, "it is over");
}

#[tokio::test]
async fn a_machine_without_an_address_is_not_dialled() {
    let deployment = Deployment::new();
    let machine = Machine {
        address: None,
        ..deployment.host("m-1").machine()
    };
    let error = deployment
        .agents
        .open(&machine, Term(1), &deployment.pins)
        .await;
    assert!(matches!(error, Err(LinkError::NoAddress { .. })));
}

#[tokio::test]
async fn a_machine_that_is_closed_is_let_go_and_may_be_opened_again() {
    let deployment = Deployment::new();
    let host = deployment.machine("m-1").await;
    deployment.open(host.machine()).await.expect("a connection");
    let mut before = deployment.agents.health(&host.id);
    deployment.agents.close(&host.id);
    let unconnected = before.wait_for(|health| *health == Health::Unconnected);
    soon("the end", unconnected)
        .await
        .expect("told before it is forgotten");
    let error = deployment
        .agents
        .renew(&host.id, Term(1))
        .await
        .expect_err("closed");
    assert!(
        error.to_string().contains("no connection is open"),
        "{error}"
    );
    let machine = Machine {
        key: deployment.pins.key(&host.id),
        ..host.machine()
    };
    deployment.open(machine).await.expect("a connection");
}

#[tokio::test]
async fn p3_closing_a_machine_ends_whoever_dials_it() {
    let deployment = Deployment::new();
    let nowhere: SocketAddr = ([127, 0, 0, 1], 1).into();
    let machine = Machine {
        address: Some(nowhere),
        ..deployment.host("m-1").machine()
    };
    let open = deployment.agents.open(&machine, Term(1), &deployment.pins);
    let close = async {
        tokio::task::yield_now().await;
        deployment.agents.close(&MachineId::new("m-1"));
    };
    let (opened, ()) = tokio::join!(soon("an answer", open), close);
    assert!(matches!(opened, Err(LinkError::Unreachable { .. })));
}

#[tokio::test]
async fn no_task_of_the_link_outlives_its_shutdown() {
    let deployment = Deployment::new();
    let one = deployment.machine("m-1").await;
    let two = deployment.machine("m-2").await;
    deployment.open(one.machine()).await.expect("a connection");
    deployment.open(two.machine()).await.expect("a connection");
    soon("the end of all tasks", deployment.agents.shutdown()).await;
    // The agents share the test's runtime: a listener each is what stays.
    let tasks = tokio::runtime::Handle::current().metrics();
    until("the end of the agents' own", || {
        tasks.num_alive_tasks() == 2
    })
    .await;
}
