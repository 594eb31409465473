//! HTTP/1.1 on bare sockets: for what a client library hides.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("a connection")
}

/// Reads until the text has come.
pub(crate) async fn read_until(stream: &mut (impl AsyncRead + Unpin), text: &str) -> String {
    let mut bytes = Vec::new();
    while !String::from_utf8_lossy(&bytes).contains(text) {
        let read = timeout(PATIENCE, stream.read_buf(&mut bytes)).await.expect("an answer in time").expect("an answer");
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until the connection is closed, in order or not.
pub(crate) async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    // A close with unread bytes on the other side is a reset here, which is an end too.
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an end in time").ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits until nobody listens there.
pub(crate) async fn refused(address: SocketAddr) {
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refused).await.expect("the listener closes in time");
}

/// Reads one answer, and nothing after it: its head and its body.
pub(crate) async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(String, String)> {
    let read = async {
        let mut bytes = Vec::with_capacity(2_048);
        loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&bytes[..end + 4]).into_owned();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
                if bytes.len() >= end + 4 + length.unwrap_or(0) {
                    return Ok((head, String::from_utf8_lossy(&bytes[end + 4..]).into_owned()));
                }
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::Error::other(format!("closed after {:?}", String::from_utf8_lossy(&bytes))));
            }
        }
    };
    timeout(PATIENCE, read).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
