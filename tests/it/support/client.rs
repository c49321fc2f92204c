//! A client of bytes: what is sent is what the test wrote, and nothing of the answer is hidden.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use super::soon;

#[derive(Clone, Copy)]
pub struct Client {
    address: SocketAddr,
    source: Option<IpAddr>,
}

/// An answer, whole. `cut` says that the connection ended before the body's framing did.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub cut: bool,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(n, _)| n == name);
        let first = found.next()?;
        assert!(found.next().is_none(), "{name} is there more than once");
        Some(&first.1)
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.body.escape_ascii()))
    }

    /// The `code` of an OpenAI error.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, source: None }
    }

    /// Whose connections come from `source`.
    pub fn from(self, source: IpAddr) -> Self {
        Self { source: Some(source), ..self }
    }

    pub async fn connect(&self) -> BufReader<TcpStream> {
        let connecting = async {
            let Some(source) = self.source else { return TcpStream::connect(self.address).await };
            let socket = TcpSocket::new_v4()?;
            socket.bind((source, 0).into())?;
            socket.connect(self.address).await
        };
        let stream = soon("connect", connecting).await.unwrap();
        stream.set_nodelay(true).unwrap();
        BufReader::new(stream)
    }

    pub async fn get(&self, path: &str) -> Response {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
            .await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.post_with(path, "", body).await
    }

    /// `headers`: whole lines, each with its CR LF.
    pub async fn post_with(&self, path: &str, headers: &str, body: &Value) -> Response {
        self.raw(Self::request(path, headers, body)).await
    }

    pub fn request(path: &str, headers: &str, body: &Value) -> Vec<u8> {
        let body = body.to_string();
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n{headers}\r\n{body}"
        )
        .into_bytes()
    }

    /// Sends bytes, reads one answer.
    pub async fn raw(&self, bytes: impl AsRef<[u8]>) -> Response {
        let mut stream = self.connect().await;
        // The gateway may answer and close before it has read all.
        stream.write_all(bytes.as_ref()).await.ok();
        read_response(&mut stream).await
    }
}

/// Reads one answer with its body.
pub async fn read_response(stream: &mut (impl AsyncRead + Unpin)) -> Response {
    soon("an answer", async {
        let mut response = read_head(stream).await;
        while response.status == 100 {
            response = read_head(stream).await;
        }
        read_body(stream, &mut response).await;
        response
    })
    .await
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Response {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) => panic!("no answer ({error}) after {:?}", head.escape_ascii().to_string()),
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        })
        .collect();
    Response { status, headers, body: Vec::new(), cut: false }
}

async fn read_body(stream: &mut (impl AsyncRead + Unpin), response: &mut Response) {
    if response.status == 204 {
        return;
    }
    if response.header("transfer-encoding").is_some() {
        response.cut = read_chunks(stream, &mut response.body).await.is_err();
    } else if let Some(length) = response.header("content-length") {
        let length: u64 = length.parse().unwrap();
        let read = stream.take(length).read_to_end(&mut response.body).await;
        response.cut = read.is_err() || response.body.len() as u64 != length;
    } else {
        response.cut = stream.read_to_end(&mut response.body).await.is_err();
    }
}

async fn read_chunks(
    stream: &mut (impl AsyncRead + Unpin),
    body: &mut Vec<u8>,
) -> std::io::Result<()> {
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(stream.read_u8().await?);
        }
        let size = std::str::from_utf8(&line).unwrap().trim_end();
        let size = usize::from_str_radix(size, 16).unwrap();
        let start = body.len();
        body.resize(start + size, 0);
        let mut read = 0;
        while read < size {
            let n = stream.read(&mut body[start + read..]).await?;
            if n == 0 {
                body.truncate(start + read);
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            read += n;
        }
        stream.read_u16().await?;
        if size == 0 {
            return Ok(());
        }
    }
}

/// The events of a stream, each without its blank line.
pub fn split_events(body: &[u8]) -> Vec<String> {
    let text = String::from_utf8(body.to_vec()).unwrap().replace("\r\n", "\n");
    text.split("\n\n").filter(|event| !event.is_empty()).map(str::to_owned).collect()
}
