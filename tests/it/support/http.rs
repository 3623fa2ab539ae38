//! An HTTP/1.1 server on a loopback socket, whose answers can be as wrong as an application's: late, cut off, or not HTTP's
//! idea of a body at all. One request a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

/// A request, as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query's pairs, decoded, in their order.
    pub query: Vec<(String, String)>,
    /// The headers; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Asked {
    /// The first query parameter of that name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        first(&self.query, name)
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        first(&self.headers, name)
    }

    /// The body's pairs, read as a form.
    pub fn form(&self) -> Vec<(String, String)> {
        pairs(&self.body)
    }
}

/// The first value of that name.
pub fn first<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn pairs(text: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// How often the body is sent: a large one need not be held.
    times: usize,
    delay: Duration,
    /// The time between two bytes of the body.
    drip: Option<Duration>,
    cut: Option<Cut>,
}

/// Where the connection ends too early.
#[derive(Debug, Clone, Copy)]
enum Cut {
    BeforeAnswer,
    InBody,
}

impl Reply {
    /// An answer of JSON.
    pub fn json(body: &serde_json::Value) -> Self {
        Reply::text(200, body.to_string()).header("Content-Type", "application/json")
    }

    /// An answer of text.
    pub fn text(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Reply { status, body: body.into(), times: 1, ..Reply::default() }
    }

    /// With that status.
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Its status.
    pub fn code(&self) -> u16 {
        self.status
    }

    /// With one more header.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Later.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The body again and again, as one body.
    pub fn repeated(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Byte by byte, with a pause after each.
    pub fn dripping(mut self, pause: Duration) -> Self {
        self.drip = Some(pause);
        self
    }

    /// The connection ends without an answer.
    pub fn lost(mut self) -> Self {
        self.cut = Some(Cut::BeforeAnswer);
        self
    }

    /// The connection ends in the middle of the body.
    pub fn torn(mut self) -> Self {
        self.cut = Some(Cut::InBody);
        self
    }
}

/// A running server; it stops when this is dropped.
pub struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Asked>>>,
    _stop: DropGuard,
}

impl Server {
    /// Listens on a free port and answers by `answer`.
    pub async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at(0, answer).await
    }

    /// As [`Server::start`], on a port that is known to be free.
    pub async fn start_at(port: u16, answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, seen, answer) = (CancellationToken::new(), Arc::new(Mutex::default()), Arc::new(answer));
        let (stopped, log) = (stop.clone(), Arc::clone(&seen));
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! { () = stopped.cancelled() => return, accepted = listener.accept() => accepted };
                let Ok((stream, _)) = accepted else { continue };
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                tokio::spawn(async move { drop(converse(stream, &*answer, &log).await) });
            }
        });
        Self { address, seen, _stop: stop.drop_guard() }
    }

    /// Its address as a URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its host and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Asked> {
        self.seen.lock().expect("no test has failed under this lock").clone()
    }

    /// The requests so far to one path.
    pub fn seen_at(&self, path: &str) -> Vec<Asked> {
        self.seen().into_iter().filter(|asked| asked.path == path).collect()
    }
}

async fn converse(mut stream: TcpStream, answer: &(dyn Fn(&Asked) -> Reply + Send + Sync), log: &Mutex<Vec<Asked>>) -> std::io::Result<()> {
    let Some(asked) = read(&mut stream).await? else { return Ok(()) };
    let reply = {
        let mut log = log.lock().expect("no test has failed under this lock");
        log.push(asked.clone());
        answer(&asked)
    };
    tokio::time::sleep(reply.delay).await;
    if let Some(Cut::BeforeAnswer) = reply.cut {
        return Ok(());
    }
    let mut head =
        format!("HTTP/1.1 {} Whatever\r\nContent-Length: {}\r\nConnection: close\r\n", reply.status, reply.body.len() * reply.times);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await?;
    if let Some(Cut::InBody) = reply.cut {
        stream.write_all(&reply.body[..reply.body.len() / 2]).await?;
        return stream.shutdown().await;
    }
    match reply.drip {
        Some(pause) => {
            for byte in &reply.body {
                stream.write_all(&[*byte]).await?;
                tokio::time::sleep(pause).await;
            }
        }
        None => {
            for _ in 0..reply.times {
                stream.write_all(&reply.body).await?;
            }
        }
    }
    stream.shutdown().await
}

async fn read(stream: &mut TcpStream) -> std::io::Result<Option<Asked>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let length = first(&headers, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let body = String::from_utf8_lossy(&bytes[end..]).into_owned();
    Ok(Some(Asked { method: method.to_owned(), path: path.to_owned(), query: pairs(query), headers, body }))
}
