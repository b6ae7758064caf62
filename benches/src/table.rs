//! The table of all figures.

/// One figure.
#[derive(Debug)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// What it may be.
    pub(crate) budget: &'static str,
    /// What it is.
    pub(crate) ours: String,
    /// The nearest thing, measured in the same run.
    pub(crate) baseline: String,
}

pub(crate) fn print_markdown(rows: &[Row], machine: &str) {
    println!("# Benchmarks\n");
    println!("Each baseline was measured in the same run, in turns with ours.\n");
    println!("| what | budget | ours | baseline |\n|---|---|---|---|");
    for Row {
        what,
        budget,
        ours,
        baseline,
    } in rows
    {
        println!("| {what} | {budget} | {ours} | {baseline} |");
    }
    println!("\n![claim latency against pool size and concurrency](latency.svg)");
    println!("\nTable and picture are made by `cargo xtask figures`. Measured on: {machine}");
    println!("\n{NOTES}");
}

pub(crate) fn print_plain(rows: &[Row], machine: &str) {
    println!("{machine}\n");
    for Row {
        what,
        budget,
        ours,
        baseline,
    } in rows
    {
        println!("{what}\n    budget    {budget}\n    ours      {ours}\n    baseline  {baseline}");
    }
}

const NOTES: &str = "\
What the rows mean:

- The clock's own 20 to 25 ns are inside every claim's figure.
- *Claim of a ready machine* is `WarmPool::acquire`, from the request to the lease, with the claim written to the memory journal: two rows, two events, one compare-and-swap each. The baselines hand out an object from memory and write nothing down. It allocates three times, and is over its budget. The slowest hundredth are the first claims of each round of 50, on cold caches.
- *64 tasks on 8 machines* drives the pool's ready queue, the part that decides who is next, with machines that come back: each of 64 tasks claims, yields once and gives back. A pool never takes a machine back from a stage, so the whole pool has no such cycle; the baselines have.
- *Acquire with 10 000 machines* claims in turns from a pool of which 50 machines are ready and 9 950 have stages, and from one of 50. The memory journal adds least to it, so the difference is the largest. On a disk the p99 is the disk's: in seven runs on SQLite it was 22 % less to 133 % more than with 50 machines, and p50 10 to 34 % more, since rows lie on more pages.
- *A reconcile pass* is what the pool does with a listing that was parsed: all rows by their ids, the strangers, and the plan. All machines are as they should be; each that is not costs a row's write.
- *Listing 10 000 machines on EC2* is `Ec2Provider::list` by the real SDK, ten pages of XML; the fake writes them on a thread of its own. All pools of an account share one listing, made each minute and when somebody asks for one.
- *The delegate's calls* are over HTTP connections that stay open, on the real runner as a process, with a journal on SQLite and machines of a fake EC2 whose agents are tasks of the benching process: their TLS, enrolment and gRPC are the real ones, what is behind them says yes at once. Callers, agents, the fake and the refill of what was used share the two cores with the runner.
- *Memory of the runner* is resident memory with all machines enrolled and connected; what is its own is without the pages of its program's file, and that is what further machines add to.
- *From `/setup` until the first step runs* is the real runner over HTTP, the real agent as a process, and a fake EC2 whose machines take 40 s from launch to their first instruction: what the kernel, cloud-init and systemd of a real image take beyond that is not in it. The step tells the host's time.
- *Durable acquire* is `WarmPool::acquire` on a journal on disk. Machine and stage change in one transaction with an event each, which the journal's writer makes and syncs; the bare commit inserts one row of 80 bytes over a connection that does nothing else. Both are in turns, on the same disk.
- *100 at once*: all requests are there at the same moment, and those that wait while one transaction is synced share the next.
- *Refill*: 1 000 machines are ready, 1 000 requests come at once, and another 1 000 machines are ordered, bound, connected and written down as ready. Provider and agents answer at once, so all of that time is ours and the journal's.
- *Restart*: 5 050 machines, of which 5 000 have stages, 10 050 rows in all. The running stages' agents are connected before the ready ones.
- The picture's left half drives the ready queue alone with other numbers of tasks and machines; its right half whole acquires on SQLite, each of which uses a machine up.
- *A step `true`* is `AgentExecutor::run` to its result, over mutual TLS, on an agent of the local provider. The baseline forks, executes and waits for `sh -c true` in the benching process.
- *A million lines* is `seq 1000000` with 50 secrets to mask, until its last byte is in the caller's sink; the whole masked log is on the agent's disk too.";
