//! Ten thousand machines on EC2: what a listing of them costs, by the real SDK
//! from a fake EC2 over HTTP.
//!
//! The fake answers on a thread of its own, so that the CPU time of the
//! runner's side is known by itself.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::types::{InstanceType, ResourceType, Tag, TagSpecification};
use fake_ec2::{Catalog, Config, FakeEc2, Hollow, Timing};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use vmpool_aws::account::{Login, keys};
use vmpool_aws::user_data::UserData;
use vmpool_aws::{
    Disk, Ec2Account, Ec2Provider, Machine, Markets, Network, Preference, Template, tags,
};
use vmpool_core::account::{Account, AccountConfig};
use vmpool_core::{Attempt, Clock, Provider as _, Tags, Timestamp};

use crate::spread::{Short, Spread};
use crate::table::Row;

const MANY: usize = 10_000;
/// Most machines that one launch of the fake is asked for.
const AT_ONCE: i32 = 1_000;
const LISTINGS: usize = 5;
const REGION: &str = "us-east-1";

pub(crate) fn run() -> Result<Vec<Row>> {
    let cloud = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let config = Config {
        timing: Timing::instant(),
        ..Config::default()
    };
    let listen = ([127, 0, 0, 1], 0).into();
    let fake = FakeEc2::start(config, fake_ec2::Clock::host(), Arc::new(Hollow), listen);
    let fake = cloud.block_on(fake)?;
    let relay = cloud.block_on(Relay::start(fake.url()))?;
    let here = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let rows = here.block_on(measure(&fake.url(), &relay));
    cloud.block_on(fake.stop());
    rows
}

/// Passes connections on, and counts what comes back.
struct Relay {
    url: String,
    bytes: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Relay {
    async fn start(to: String) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let bytes = Arc::new(AtomicUsize::new(0));
        let counted = bytes.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut passed = JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                passed.spawn(pass(from, to.clone(), counted.clone()));
            }
        });
        Ok(Self {
            url,
            bytes,
            _tasks: tasks,
        })
    }
}

/// A connection that breaks is its two ends' matter.
async fn pass(from: TcpStream, to: String, bytes: Arc<AtomicUsize>) {
    let address = to.trim_start_matches("http://");
    let Ok(to) = TcpStream::connect(address).await else {
        return;
    };
    let (mut asks, mut hears) = from.into_split();
    let (mut answers, mut asked) = to.into_split();
    let back = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = answers.read(&mut buffer).await {
            bytes.fetch_add(read, Ordering::Relaxed);
            if hears.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        _ = tokio::io::copy(&mut asks, &mut asked) => {}
        () = back => {}
    }
}

/// The account, at that address.
async fn account(url: &str) -> Ec2Account {
    let login = Login {
        keys: Some(keys("AKIAFAKE", "secret", None)),
        region: Some(REGION.to_owned()),
        ..Login::default()
    };
    let config = login.connect().await.into_builder();
    let config = config.endpoint_url(url).build();
    let budget = Account::new(AccountConfig::ec2("bench"));
    Ec2Account::new(&config, budget, Clock::system())
}

async fn measure(url: &str, relay: &Relay) -> Result<Vec<Row>> {
    let account = self::account(url).await;
    let template = template()?;
    launch(&account, &template.image).await?;
    let before = resident()?;
    let counting = Ec2Provider::new(&self::account(&relay.url).await, template.clone());
    counting.list(&"bench".into()).await?;
    let bytes = relay.bytes.load(Ordering::Relaxed);
    let provider = Ec2Provider::new(&account, template);

    let (mut spread, mut cpu) = (Spread::default(), Duration::ZERO);
    let mut kept = 0;
    for _ in 0..LISTINGS {
        let (begun, cpu_begun) = (Instant::now(), own_cpu()?);
        let listing = provider.list(&"bench".into()).await?;
        spread.add(begun.elapsed());
        cpu += own_cpu()?.saturating_sub(cpu_begun);
        ensure!(listing.machines.len() == MANY, "{}", listing.machines.len());
        kept = resident()?.saturating_sub(before);
    }
    let cpu = cpu / u32::try_from(LISTINGS).unwrap_or(u32::MAX);
    Ok(vec![Row {
        what: "listing 10 000 machines on EC2".to_owned(),
        budget: "–",
        ours: format!(
            "10 calls, {} MB; {} with the fake's answering, {} of CPU on our side; the process is \
             {} MB larger",
            bytes >> 20,
            spread.cell(),
            Short(cpu),
            kept >> 20,
        ),
        baseline: "–".to_owned(),
    }])
}

async fn launch(account: &Ec2Account, image: &str) -> Result<()> {
    let tags = Tags {
        owner: "bench".into(),
        deployment: "bench".into(),
        pool: "bench".into(),
        order: "bench".into(),
        attempt: Attempt(1),
        expires_at: Timestamp(4_000_000_000_000),
    };
    let pairs = tags::pairs(&tags).into_iter();
    let pairs = pairs.map(|(key, value)| Tag::builder().key(key).value(value).build());
    let tags = TagSpecification::builder()
        .resource_type(ResourceType::Instance)
        .set_tags(Some(pairs.collect()))
        .build();
    let mut launched = 0;
    while launched < MANY {
        let request = account.ec2().run_instances();
        let answer = request
            .image_id(image)
            .instance_type(InstanceType::M6iLarge)
            .min_count(AT_ONCE)
            .max_count(AT_ONCE)
            .tag_specifications(tags.clone())
            .send()
            .await
            .context("launch a thousand machines")?;
        launched += answer.instances().len();
    }
    Ok(())
}

fn template() -> Result<Template> {
    let catalog = Catalog::default();
    let mut images = catalog.images.iter();
    let ubuntu = images.find(|image| image.name.contains("noble-24.04-amd64"));
    Ok(Template {
        image: ubuntu.context("an Ubuntu")?.id(REGION),
        types: vec!["m6i.large".to_owned()],
        zones: Vec::new(),
        markets: Markets::OnDemand,
        preference: Preference::Ordered,
        machine: Machine {
            disk: Disk {
                device: "/dev/sda1".to_owned(),
                gib: 32,
                kind: "gp3".to_owned(),
                iops: None,
                kms_key: None,
                tags: BTreeMap::new(),
            },
            network: Network {
                security_groups: Vec::new(),
                public_address: false,
                agent_port: 9079,
            },
            key_pair: None,
            profile: None,
            hibernate: false,
            tags: BTreeMap::new(),
        },
        user_data: UserData::None,
    })
}

/// What this thread has computed so far.
fn own_cpu() -> Result<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").context("read schedstat")?;
    let nanos = text
        .split_whitespace()
        .next()
        .context("schedstat is empty")?;
    Ok(Duration::from_nanos(nanos.parse().context("schedstat")?))
}

/// The memory of this process that is resident, in bytes.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("read status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    let kilobytes: u64 = kilobytes.context("VmRSS")?.parse().context("VmRSS")?;
    Ok(kilobytes << 10)
}
