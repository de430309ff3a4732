//! A client that keeps its connection.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::outcome::Outcome;

pub struct Client {
    stream: TcpStream,
    address: SocketAddr,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, address })
    }

    pub async fn get(&mut self, path: &str) -> Outcome<(u16, Vec<u8>)> {
        self.request("GET", path, "").await
    }

    pub async fn post(&mut self, path: &str, json: &str) -> Outcome<(u16, Vec<u8>)> {
        self.request("POST", path, json).await
    }

    /// Sends a request and reads the status and the body of its answer.
    async fn request(&mut self, method: &str, path: &str, body: &str) -> Outcome<(u16, Vec<u8>)> {
        self.begin(method, path, body).await?;
        let mut answer = vec![];
        let end = loop {
            if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if self.stream.read_buf(&mut answer).await? == 0 {
                return Err("the connection was closed".into());
            }
        };
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or("no status")?;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length
            .and_then(|length| length.parse().ok())
            .ok_or("no length")?;
        let mut body = answer.split_off(end + 4);
        while body.len() < length {
            if self.stream.read_buf(&mut body).await? == 0 {
                return Err("the answer is cut".into());
            }
        }
        Ok((status, body))
    }

    /// Sends a request and does not wait.
    pub async fn begin(&mut self, method: &str, path: &str, body: &str) -> Outcome {
        let address = self.address;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        Ok(self.stream.write_all(request.as_bytes()).await?)
    }
}
