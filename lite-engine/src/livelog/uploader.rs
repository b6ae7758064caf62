//! Brings one step's log to where it is wanted.

use std::io;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Assembler, Client, ClientError, FileStore, History, Line, encode};
use crate::log::{LogError, LogReader};

/// Lines wait so long for others to go with them.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

/// Bytes of the log that are made into lines at once. Empty ones take some
/// hundred times their size.
const PIECE: usize = 8 * 1024;

/// A batch of so many encoded bytes goes at once.
const BATCH_BYTES: usize = 512 * 1024;

/// How one log is brought.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The log's key.
    pub key: String,
    /// Another opens the stream: it is not opened here, there is no blob, and
    /// closing it makes the service take a snapshot.
    pub skip_opening: bool,
    /// Another closes the stream: there is neither a blob nor a close.
    pub skip_closing: bool,
    /// Lines go without the newline at their end.
    pub trim_newline: bool,
    /// Lines below this number were sent to the live stream before, by an
    /// agent that was ended; see [`Uploader::sent`].
    pub sent_before: u64,
}

/// What became of a log.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Uploaded {
    /// Its lines.
    pub lines: u64,
    /// Why the live stream has not all of them.
    pub live: Option<ClientError>,
    /// Why the blob is not there.
    pub blob: Option<ClientError>,
    /// Why the live stream was not closed.
    pub close: Option<ClientError>,
    /// Why the file has not all lines.
    pub file: Option<io::Error>,
    /// Why the log was not read to its end.
    pub read: Option<LogError>,
    /// The agent is to end: the stream is left open, for one that goes on.
    pub cancelled: bool,
}

impl Uploaded {
    /// Whether everything is where it was wanted.
    pub fn is_complete(&self) -> bool {
        let none = self.live.is_none() && self.blob.is_none() && self.close.is_none();
        none && self.file.is_none() && self.read.is_none() && !self.cancelled
    }
}

/// Brings one log, in the task that calls [`Uploader::run`].
#[derive(Debug)]
pub struct Uploader {
    to: Destination,
    settings: Settings,
    sent: watch::Sender<u64>,
}

#[derive(Debug)]
enum Destination {
    Service(Box<Client>),
    File(FileStore),
}

impl Uploader {
    /// To the log service.
    pub fn to_service(client: Client, settings: Settings) -> Self {
        Self::new(Destination::Service(Box::new(client)), settings)
    }

    /// Into a file.
    pub fn to_file(file: FileStore, settings: Settings) -> Self {
        Self::new(Destination::File(file), settings)
    }

    fn new(to: Destination, settings: Settings) -> Self {
        let (sent, _) = watch::channel(settings.sent_before);
        Self { to, settings, sent }
    }

    /// How many lines the live stream has by now. Whoever keeps it can go on
    /// after a restart, by [`Settings::sent_before`].
    pub fn sent(&self) -> watch::Receiver<u64> {
        self.sent.subscribe()
    }

    /// Brings the log to its end. `log` must begin at the log's first byte.
    ///
    /// Ends when the log does and the service has answered, or given up on;
    /// at once when `cancel` is cancelled.
    ///
    /// # Cancel safety
    /// Dropping it leaves the stream open, and the lines that were under way
    /// may have come or not; one that goes on sends them again under the same
    /// numbers.
    pub async fn run(self, log: LogReader, cancel: CancellationToken) -> Uploaded {
        let Self { to, settings, sent } = self;
        let mut uploaded = Uploaded::default();
        match to {
            Destination::Service(client) => {
                let service = Service::new(&client, &settings, sent);
                let bring = service.bring(log, &mut uploaded);
                if cancel.run_until_cancelled(bring).await.is_none() {
                    uploaded.cancelled = true;
                }
            }
            Destination::File(mut file) => {
                let bring = into_file(&mut file, log, &sent, &mut uploaded);
                if cancel.run_until_cancelled(bring).await.is_none() {
                    uploaded.cancelled = true;
                }
            }
        }
        uploaded
    }
}

async fn into_file(
    file: &mut FileStore,
    mut log: LogReader,
    sent: &watch::Sender<u64>,
    uploaded: &mut Uploaded,
) {
    let mut assembler = Assembler::default();
    loop {
        let mut lines = Vec::new();
        let mut appended = Ok(());
        let next = log.next().await;
        let over = !matches!(next, Ok(Some(_)));
        match next {
            Ok(Some(chunk)) => {
                for piece in chunk.bytes.chunks(PIECE) {
                    assembler.push(piece, SystemTime::now(), |line| lines.push(line));
                    appended = appended.and_then(|()| file.append(&std::mem::take(&mut lines)));
                }
            }
            Ok(None) => lines.extend(assembler.finish(SystemTime::now())),
            Err(error) => uploaded.read = Some(error),
        }
        uploaded.lines = assembler.pos();
        if let Err(error) = appended.and_then(|()| file.append(&lines)) {
            uploaded.file = Some(error);
            return;
        }
        sent.send_replace(assembler.pos());
        if over {
            return;
        }
    }
}

/// One log on its way to the service.
struct Service<'a> {
    client: &'a Client,
    settings: &'a Settings,
    sent: watch::Sender<u64>,
    live: bool,
    history: Option<History>,
    /// Lines that are not in the live stream yet, and their bytes.
    batch: Vec<Bytes>,
    batch_bytes: usize,
    flush_at: Instant,
    assembler: Assembler,
}

impl<'a> Service<'a> {
    fn new(client: &'a Client, settings: &'a Settings, sent: watch::Sender<u64>) -> Self {
        let blob = !settings.skip_opening && !settings.skip_closing;
        Self {
            client,
            settings,
            sent,
            live: true,
            history: blob.then(|| History::new(settings.trim_newline)),
            batch: Vec::new(),
            batch_bytes: 0,
            flush_at: Instant::now(),
            assembler: Assembler::default(),
        }
    }

    async fn bring(mut self, mut log: LogReader, uploaded: &mut Uploaded) {
        let key = &self.settings.key;
        if !self.settings.skip_opening && self.settings.sent_before == 0 {
            self.note(self.client.open(key).await, uploaded);
        }
        loop {
            let next = if self.batch.is_empty() {
                log.next().await
            } else {
                // Nothing is lost where the time is up first.
                let next = tokio::time::timeout_at(self.flush_at, log.next()).await;
                let Ok(next) = next else {
                    self.flush(uploaded).await;
                    continue;
                };
                next
            };
            match next {
                Ok(Some(chunk)) => {
                    for piece in chunk.bytes.chunks(PIECE) {
                        self.take(piece);
                        if self.batch_bytes >= BATCH_BYTES {
                            self.flush(uploaded).await;
                        }
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    uploaded.read = Some(error);
                    break;
                }
            }
        }
        if let Some(last) = self.assembler.finish(SystemTime::now()) {
            self.add(&last);
        }
        uploaded.lines = self.assembler.pos();
        self.flush(uploaded).await;
        self.end(uploaded).await;
    }

    async fn end(&self, uploaded: &mut Uploaded) {
        let key = &self.settings.key;
        if self.settings.skip_closing {
            return;
        }
        if let Some(history) = &self.history {
            uploaded.blob = self.client.upload(key, history.blob()).await.err();
        }
        let snapshot = self.settings.skip_opening;
        uploaded.close = self.client.close(key, snapshot).await.err();
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut lines = Vec::new();
        self.assembler
            .push(bytes, SystemTime::now(), |line| lines.push(line));
        for line in &lines {
            self.add(line);
        }
    }

    fn add(&mut self, line: &Line) {
        let encoded = Bytes::from(encode::remote(line, self.settings.trim_newline));
        if self.live && line.pos >= self.settings.sent_before {
            if self.batch.is_empty() {
                self.flush_at = Instant::now() + FLUSH_AFTER;
            }
            self.batch_bytes += encoded.len();
            self.batch.push(encoded.clone());
        }
        if let Some(history) = &mut self.history {
            history.push(line, encoded);
        }
    }

    async fn flush(&mut self, uploaded: &mut Uploaded) {
        if self.batch.is_empty() {
            return;
        }
        let written = self.client.write(&self.settings.key, &self.batch).await;
        if written.is_ok() {
            self.sent.send_replace(self.assembler.pos());
        }
        self.note(written, uploaded);
        self.batch.clear();
        self.batch_bytes = 0;
    }

    /// A live stream that failed in spite of all retries is given up; the blob goes on.
    fn note(&mut self, done: Result<(), ClientError>, uploaded: &mut Uploaded) {
        if let Err(error) = done {
            self.live = false;
            uploaded.live.get_or_insert(error);
        }
    }
}
