//! The PostgreSQL and the Redis of a test, spoken to by hand: a database is made and dropped, and keys are removed.
//!
//! Nothing waits in here for a runtime, so that it can be done wherever a test ends.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use url::Url;

const PATIENCE: Duration = Duration::from_secs(20);

/// Version 3.0 of PostgreSQL's protocol.
const PROTOCOL: i32 = 3 << 16;

fn service(variable: &str) -> Url {
    let text = std::env::var(variable).unwrap_or_else(|_| panic!("{variable}: the server's address"));
    text.parse().unwrap()
}

fn connect(url: &Url, port: u16) -> io::Result<TcpStream> {
    let host = url.host_str().ok_or_else(|| io::Error::other("an address without a host"))?;
    let socket = TcpStream::connect((host, url.port().unwrap_or(port)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// A database and a key prefix that nobody else has.
pub(super) struct Ground {
    server: Url,
    redis: Url,
    name: String,
}

impl Ground {
    pub(super) fn new() -> Self {
        let (server, redis) = (service("OTARIA_TEST_POSTGRES"), service("OTARIA_TEST_REDIS"));
        let name = format!("otaria_{:016x}", rand::random::<u64>());
        let ground = Self { server, redis, name };
        ground.sql(&format!("create database {}", ground.name)).unwrap();
        ground
    }

    /// The address of the database.
    pub(super) fn store(&self) -> String {
        let mut url = self.server.clone();
        url.set_path(&self.name);
        url.into()
    }

    pub(super) fn redis(&self) -> &str {
        self.redis.as_str()
    }

    pub(super) fn prefix(&self) -> &str {
        &self.name
    }

    /// Removes everything; whoever is still connected is thrown out.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.forget_keys()?;
        self.sql(&format!("drop database if exists {} with (force)", self.name))
    }

    /// Gives one statement on the server's own database.
    fn sql(&self, statement: &str) -> io::Result<()> {
        let mut socket = connect(&self.server, 5_432)?;
        let database = self.server.path().trim_start_matches('/');
        let startup = format!("user\0{}\0database\0{database}\0\0", self.server.username());
        socket.write_all(&sized(&[&PROTOCOL.to_be_bytes()[..], startup.as_bytes()].concat()))?;
        until_ready(&mut socket)?;
        socket.write_all(b"Q")?;
        socket.write_all(&sized(format!("{statement}\0").as_bytes()))?;
        until_ready(&mut socket)?;
        socket.write_all(b"X")?;
        socket.write_all(&sized(b""))
    }

    /// Removes every key of the prefix.
    fn forget_keys(&self) -> io::Result<()> {
        let mut socket = connect(&self.redis, 6_379)?;
        if let Some(password) = self.redis.password() {
            command(&mut socket, &["AUTH", password])?;
        }
        let number = self.redis.path().trim_start_matches('/');
        if !number.is_empty() {
            command(&mut socket, &["SELECT", number])?;
        }
        let script =
            "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end return 1";
        command(&mut socket, &["EVAL", script, "0", &format!("*{}*", self.name)])
    }
}

/// What PostgreSQL reads: the length with its own four bytes, then the content.
fn sized(content: &[u8]) -> Vec<u8> {
    let length = i32::try_from(content.len() + 4).unwrap();
    [&length.to_be_bytes()[..], content].concat()
}

/// Reads until PostgreSQL waits for a statement; an error on the way is the error.
fn until_ready(socket: &mut TcpStream) -> io::Result<()> {
    loop {
        let mut head = [0; 5];
        socket.read_exact(&mut head)?;
        let length = i32::from_be_bytes([head[1], head[2], head[3], head[4]]) - 4;
        let mut content = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        socket.read_exact(&mut content)?;
        match head[0] {
            b'Z' => return Ok(()),
            b'E' => return Err(io::Error::other(String::from_utf8_lossy(&content).replace('\0', " "))),
            b'R' if content != [0; 4] => return Err(io::Error::other("PostgreSQL wants a password")),
            _ => {}
        }
    }
}

/// Gives a command to Redis that is answered in one line.
fn command(socket: &mut TcpStream, words: &[&str]) -> io::Result<()> {
    let words: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    let count = words.matches("\r\n").count() / 2;
    socket.write_all(format!("*{count}\r\n{words}").as_bytes())?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    if line.starts_with(b"-") {
        return Err(io::Error::other(String::from_utf8_lossy(&line).into_owned()));
    }
    Ok(())
}
