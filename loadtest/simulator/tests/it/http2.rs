//! HTTP/2 with prior knowledge, frame by frame (RFC 9113).

use sluicegate_simulator::Simulator;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::client::*;

const DATA: u8 = 0;
const HEADERS_FRAME: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

struct Connection(TcpStream);

impl Connection {
    async fn open(simulator: &Simulator) -> Self {
        let mut stream = TcpStream::connect(simulator.address()).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut connection = Self(stream);
        connection.send(SETTINGS, 0, 0, &[]).await;
        connection
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    async fn chat(&mut self, stream: u32, directives: &str) {
        let mut block = Vec::new();
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/v1/chat/completions"),
            (":authority", "sim"),
            ("authorization", "Bearer k"),
            ("x-sim", directives),
        ] {
            // Literal, never indexed, new name (RFC 7541, section 6.2.2), no Huffman code.
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).unwrap());
                block.extend(text.as_bytes());
            }
        }
        self.send(HEADERS_FRAME, END_HEADERS, stream, &block).await;
        self.send(DATA, END_STREAM, stream, CHAT_STREAM.as_bytes()).await;
    }

    /// The next frame that belongs to a stream.
    async fn next(&mut self) -> Frame {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).await.unwrap();
            if stream != 0 {
                return Frame { kind: head[3], flags: head[4], stream, payload };
            }
        }
    }
}

#[tokio::test]
async fn two_streams_share_a_connection() {
    let simulator = simulator().await;
    let mut connection = Connection::open(&simulator).await;
    connection.chat(1, "fault=stall,after=2").await;
    connection.chat(3, "tokens=4").await;
    let mut body = Vec::new();
    loop {
        let frame = connection.next().await;
        if frame.stream == 3 && frame.kind == DATA {
            body.extend(frame.payload);
            if frame.flags & END_STREAM != 0 {
                break;
            }
        }
    }
    assert!(String::from_utf8(body).unwrap().ends_with("data: [DONE]\n\n"));
    simulator.wait_until(|stats| stats.stalled == 1 && stats.total.completed == 1).await;
    // The client cancels the other one, and the connection stays.
    connection.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes()).await;
    simulator.wait_until(|stats| stats.total.aborted == 1).await;
    assert_eq!((simulator.connections_accepted(), simulator.connections_open()), (1, 1));
}

#[tokio::test]
async fn a_reset_ends_the_stream_and_not_the_connection() {
    let simulator = simulator().await;
    let mut connection = Connection::open(&simulator).await;
    connection.chat(1, "fault=reset,after=2").await;
    while connection.next().await.kind != RST_STREAM {}
    connection.chat(3, "fault=none").await;
    let frame = connection.next().await;
    assert_eq!((frame.kind, frame.stream), (HEADERS_FRAME, 3));
}
