//! Standard input and output: one client, one message a line.

use std::{io, sync::Arc};

use ::http::HeaderMap;
use ::http::StatusCode;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    sync::mpsc,
    task::JoinSet,
};

use super::{
    Era, STATELESS, Shared,
    call::{Context, Out, Wire, fault_of, initialize},
    http::{LIST_CHANGED, no_initialize},
    message::{INVALID_REQUEST, Message, Refused, Request},
    modern,
    session::{Session, UnderWay},
};

/// The longest line.
const MAX_LINE: u64 = 64 << 20;

/// What waits to be written.
const WAITING: usize = 64;

/// Serves until the input ends, or a message ends the process. Returns its exit code.
///
/// # Errors
/// When reading or writing fails.
pub(crate) async fn serve<R, W>(shared: Arc<Shared>, input: R, output: W) -> io::Result<u8>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (out, lines) = mpsc::channel(WAITING);
    let mut client = Client {
        settled: None,
        stateless: Arc::new(Session::new(STATELESS, false)),
        shared,
        out,
        running: JoinSet::new(),
    };
    let mut writer = tokio::spawn(write(lines, output));
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut input).take(MAX_LINE);
        tokio::select! {
            ended = &mut writer => return ended.map_err(io::Error::other)?,
            read = bounded.read_until(b'\n', &mut line) => if read? == 0 { break },
        }
        client.take(&line).await;
        while client.running.try_join_next().is_some() {}
    }
    // Whoever closes the input wants no answers any more.
    client.running.shutdown().await;
    drop(client);
    writer.await.map_err(io::Error::other)?
}

async fn write<W: AsyncWrite + Unpin>(
    mut lines: mpsc::Receiver<Out>,
    mut output: W,
) -> io::Result<u8> {
    while let Some(out) = lines.recv().await {
        match out {
            Out::Message(mut text) | Out::Last { mut text, .. } => {
                text.push('\n');
                output.write_all(text.as_bytes()).await?;
            }
            Out::Raw(bytes) => output.write_all(&bytes).await?,
            Out::Reset | Out::HangUp => return Ok(1),
            Out::Exit(code) => return Ok(code),
        }
        output.flush().await?;
    }
    Ok(0)
}

/// Which era the client's first message has settled.
#[derive(Clone, Debug)]
enum Settled {
    Session(Arc<Session>),
    Stateless,
}

struct Client {
    shared: Arc<Shared>,
    settled: Option<Settled>,
    /// Where the requests under way are known in the era without sessions.
    stateless: Arc<Session>,
    out: mpsc::Sender<Out>,
    running: JoinSet<()>,
}

impl Client {
    async fn take(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let outcome = match Message::read(line) {
            Ok(message) => {
                let id = match &message {
                    Message::Request(request) => Some(request.id.clone()),
                    _ => None,
                };
                self.message(message).await.map_err(|refused| (id, refused))
            }
            Err(refusal) => Err(refusal),
        };
        if let Err((id, refused)) = outcome {
            self.refuse(id.as_ref(), &refused).await;
        }
    }

    async fn refuse(&self, id: Option<&Value>, refused: &Refused) {
        self.shared.books.refused(&refused.message);
        self.send(Out::Last { status: refused.status, text: refused.text(id) }).await;
    }

    async fn send(&self, out: Out) {
        // The writer has ended, which the reading loop sees.
        let _ = self.out.send(out).await;
    }

    async fn message(&mut self, message: Message) -> Result<(), Refused> {
        let era = self.shared.settings().era;
        let initializes = message.method() == Some("initialize");
        let is_modern = match (&self.settled, era) {
            (Some(Settled::Session(_)), _) => false,
            (Some(Settled::Stateless), _) | (None, Era::Stateless) => true,
            (None, Era::Sessions) => false,
            (None, Era::Both) => !initializes && modern::claims(None, &message),
        };
        if is_modern {
            if initializes {
                return Err(no_initialize(&message));
            }
            modern::check(None, &message)?;
            if matches!(message, Message::Request(_)) {
                self.settled = Some(Settled::Stateless);
            }
        }
        match message {
            Message::Request(request) if initializes => self.initialize(&request).await,
            Message::Request(request) => self.request(is_modern, request),
            Message::Notification { method, params } => {
                self.shared.books.method(&method);
                let session = match &self.settled {
                    Some(Settled::Session(session)) => session,
                    _ => &self.stateless,
                };
                session.notified(&method, &params);
                Ok(())
            }
            Message::Response => {
                Err(Refused::bad(INVALID_REQUEST, "nothing was asked of the client"))
            }
        }
    }

    async fn initialize(&mut self, request: &Request) -> Result<(), Refused> {
        if self.settled.is_some() {
            return Err(Refused::bad(INVALID_REQUEST, "initialize is sent once"));
        }
        let (version, members) = initialize(&self.shared, request)?;
        self.shared.books.method(&request.method);
        self.shared.books.session_opened();
        self.settled = Some(Settled::Session(Arc::new(Session::new(&version, true))));
        let text = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{{members}}}}}"#, request.id);
        self.send(Out::Last { status: StatusCode::OK, text }).await;
        let mut changes = self.shared.list_changes();
        let out = self.out.clone();
        self.running.spawn(async move {
            while changes.recv().await.is_ok() {
                // The writer has ended, and so does all else.
                let _ = out.send(Out::Message(LIST_CHANGED.to_owned())).await;
            }
        });
        Ok(())
    }

    fn request(&mut self, is_modern: bool, request: Request) -> Result<(), Refused> {
        let session = match &self.settled {
            Some(Settled::Session(session)) if session.is_initialized() => Some(session.clone()),
            _ if is_modern => None,
            Some(Settled::Session(session)) if request.method == "ping" => Some(session.clone()),
            _ => {
                // As servers of that era do, to which the method means nothing.
                if request.method == "server/discover" {
                    let why = "Method not found: server/discover";
                    return Err(Refused::bad(super::message::METHOD_NOT_FOUND, why));
                }
                let why = format!("{} before initialization", request.method);
                return Err(Refused::bad(INVALID_REQUEST, why));
            }
        };
        let fault = fault_of(&self.shared, None, &request)?;
        let known = session.as_ref().unwrap_or(&self.stateless);
        let under_way = UnderWay::begin(&self.shared, Some(known), &request)?;
        self.shared.books.method(&request.method);
        let context = Context {
            shared: self.shared.clone(),
            session,
            wire: Wire::Stdio,
            headers: HeaderMap::new(),
            fault,
            out: self.out.clone(),
        };
        self.running.spawn(context.answer(request, under_way));
        Ok(())
    }
}
