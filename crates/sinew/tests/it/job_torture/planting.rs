//! A proxy that rewrites scripts on their way to the server: a bug, planted in one that works as it should.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

use parking_lot::Mutex;

/// What is written instead of what. A script in which all of it is found is another from then on.
pub type Bug = &'static [(&'static str, &'static str)];

/// By the digests that clients know, those of what was loaded in their place.
type Planted = Arc<Mutex<HashMap<String, String>>>;

pub struct Planting {
    pub port: u16,
    planted: Planted,
}

impl Planting {
    /// Its threads end with the test program.
    pub fn start(to: u16, bug: Bug) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let planted = Planted::default();
        let known = Arc::clone(&planted);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let known = Arc::clone(&known);
                std::thread::spawn(move || {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { return };
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    let (Ok(mut to_client), Ok(mut from_server)) =
                        (client.try_clone(), server.try_clone())
                    else {
                        return;
                    };
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from_server, &mut to_client);
                        let _ = to_client.shutdown(Shutdown::Both);
                    });
                    relay(client, &server, bug, &known);
                    let _ = server.shutdown(Shutdown::Both);
                });
            }
        });
        Self { port, planted }
    }

    /// Whether a script has come by in which it could be planted.
    pub fn has_planted(&self) -> bool {
        !self.planted.lock().is_empty()
    }
}

fn relay(mut from: TcpStream, mut to: &TcpStream, bug: Bug, planted: &Planted) {
    let (mut unread, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 {
            return;
        }
        unread.extend_from_slice(&buffer[..read]);
        let (mut at, mut out) = (0, Vec::new());
        while let Some((mut words, len)) = command(&unread[at..]) {
            at += len;
            rewrite(&mut words, bug, planted);
            write(&words, &mut out);
        }
        unread.drain(..at);
        if to.write_all(&out).is_err() {
            return;
        }
    }
}

/// The first command, and how long it is as it is written; nothing where not all of it has come.
fn command(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let (count, mut at) = number(bytes, 0, b'*')?;
    let mut words = Vec::new();
    for _ in 0..count {
        let (len, begin) = number(bytes, at, b'$')?;
        words.push(bytes.get(begin..begin + len)?.to_owned());
        at = begin + len + 2;
    }
    (bytes.len() >= at).then_some((words, at))
}

/// A number behind its mark, and where its line ends.
fn number(bytes: &[u8], at: usize, mark: u8) -> Option<(usize, usize)> {
    let line = bytes.get(at..)?;
    let end = line.windows(2).position(|two| two == b"\r\n")?;
    assert_eq!(line[0], mark, "not as clients write");
    let number = std::str::from_utf8(&line[1..end]).ok()?.parse().ok()?;
    Some((number, at + end + 2))
}

fn rewrite(words: &mut [Vec<u8>], bug: Bug, planted: &Planted) {
    let is = |at: usize, word: &str| {
        words.get(at).is_some_and(|it: &Vec<u8>| it.eq_ignore_ascii_case(word.as_bytes()))
    };
    if is(0, "SCRIPT") && is(1, "LOAD") {
        let source = String::from_utf8(words[2].clone()).expect("a script is text");
        if bug.iter().all(|(well, _)| source.contains(well)) {
            let wrong =
                bug.iter().fold(source.clone(), |wrong, (well, with)| wrong.replace(well, with));
            let digest = |of: &str| redis::Script::new(of).get_hash().to_owned();
            planted.lock().insert(digest(&source), digest(&wrong));
            words[2] = wrong.into_bytes();
        }
    } else if is(0, "EVALSHA") {
        let known = String::from_utf8_lossy(&words[1]).into_owned();
        if let Some(other) = planted.lock().get(&known) {
            words[1] = other.clone().into_bytes();
        }
    }
}

fn write(words: &[Vec<u8>], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}
