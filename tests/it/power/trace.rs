//! What a process did to its files, read from the trace of its system calls (`strace -f -y -xx`): every byte that it wrote, every
//! name that it made or took away, every sync; and when it was asked and answered.

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;

use data_encoding::HEXLOWER;

/// The calls that change files or speak to callers.
pub const CALLS: &str = "trace=openat,close,dup,dup2,dup3,fcntl,lseek,write,writev,pwrite64,pwritev,pwritev2,ftruncate,fallocate,fsync,\
                         fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,read,recvfrom,sendto,sendmsg";
/// Bytes of a text that the trace shows: more than any single write has.
pub const TEXT_BYTES: &str = "16777216";

/// What one call did. A call that failed did nothing and is left out.
#[derive(Debug)]
pub enum Act {
    /// A file or folder was opened.
    Open { handle: i32, path: PathBuf, created: bool, truncated: bool, appends: bool },
    /// A handle is free for the next opening.
    Close { handle: i32 },
    /// Two handles for one opening.
    Duplicate { handle: i32, copy: i32 },
    /// The place of the next write.
    Seek { handle: i32, at: u64 },
    /// Bytes that were read at the handle's own place, which moves on.
    Skip { handle: i32, bytes: u64 },
    /// Bytes at the handle's own place, or at a given one.
    Write { handle: i32, at: Option<u64>, bytes: Vec<u8> },
    /// Another length.
    Length { handle: i32, bytes: u64 },
    /// What was written before line `begun` is on disk now.
    Sync { handle: i32, begun: usize },
    /// A folder was made.
    MakeFolder { path: PathBuf },
    /// Another name.
    Rename { from: PathBuf, to: PathBuf },
    /// One more name.
    Link { from: PathBuf, to: PathBuf },
    /// A name of a file or of an empty folder was taken away.
    Remove { path: PathBuf },
    /// A caller was answered.
    Answer,
    /// The driver of the story says that its act of this number has been answered.
    Mark { number: usize },
}

/// An act, and the line of the trace at which it was done.
#[derive(Debug)]
pub struct Done {
    pub line: usize,
    pub act: Act,
}

/// Reads a trace.
///
/// # Panics
/// When a call that changes files is not understood: a model that leaves something out proves nothing.
pub fn read(trace: &str) -> Vec<Done> {
    let mut begun: HashMap<&str, (usize, String)> = HashMap::new();
    let mut done = Vec::new();
    for (line, text) in trace.lines().enumerate() {
        let Some((process, call)) = text.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(head) = call.strip_suffix("<unfinished ...>") {
            // The handle is free for others before the call that closes it is seen to return.
            if head.starts_with("close(") {
                done.extend(of_call(head, line, line));
            }
            begun.insert(process, (line, head.to_owned()));
        } else if let Some((_, tail)) = call.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            let Some((first, head)) = begun.remove(process).filter(|(_, head)| !head.starts_with("close(")) else { continue };
            done.extend(of_call(&(head + tail), first, line));
        } else {
            done.extend(of_call(call, line, line));
        }
    }
    done
}

fn of_call(call: &str, begun: usize, line: usize) -> Option<Done> {
    let (name, rest) = call.split_once('(')?;
    if name == "close" {
        return Some(Done { line, act: Act::Close { handle: number(rest)? } });
    }
    let (arguments, result) =
        rest.rsplit_once(") ").and_then(|(arguments, rest)| Some((arguments, rest.trim_start().strip_prefix("= ")?)))?;
    if result.starts_with('-') || result.starts_with('?') {
        return None;
    }
    assert!(!arguments.contains("\"..."), "a text is cut in: {}", &call[..call.len().min(200)]);
    let act = act(name, &Arguments::split(arguments), result, begun)?;
    Some(Done { line, act })
}

fn act(name: &str, arguments: &Arguments<'_>, result: &str, begun: usize) -> Option<Act> {
    let handle = || number(arguments.get(0));
    let at_cwd = |path: usize| PathBuf::from(text(arguments.get(path)));
    Some(match name {
        "openat" => {
            let flags = arguments.get(2);
            Act::Open {
                handle: number(result)?,
                path: arguments.path(0, 1),
                created: flags.contains("O_CREAT"),
                truncated: flags.contains("O_TRUNC"),
                appends: flags.contains("O_APPEND"),
            }
        }
        "dup" | "dup2" | "dup3" => Act::Duplicate { handle: handle()?, copy: number(result)? },
        "fcntl" if arguments.get(1).starts_with("F_DUPFD") => Act::Duplicate { handle: handle()?, copy: number(result)? },
        "fcntl" => return None,
        "lseek" => Act::Seek { handle: handle()?, at: result.trim().parse().ok()? },
        "read" if !is_socket(arguments.get(0)) => Act::Skip { handle: handle()?, bytes: result.trim().parse().ok()? },
        "read" | "recvfrom" => {
            let asked = bytes(arguments.get(1));
            let rest = String::from_utf8_lossy(&asked).into_owned();
            Act::Mark { number: rest.strip_prefix("GET /mark/")?.split(' ').next()?.parse().ok()? }
        }
        "write" | "writev" | "sendto" | "sendmsg" if is_socket(arguments.get(0)) => {
            // "HTTP/1.1 ", as the trace writes it.
            arguments.whole.contains(r#""\x48\x54\x54\x50\x2f\x31\x2e\x31\x20"#).then_some(Act::Answer)?
        }
        "sendto" | "sendmsg" => return None,
        "write" => Act::Write { handle: handle()?, at: None, bytes: written(arguments.get(1), result) },
        "pwrite64" => Act::Write { handle: handle()?, at: arguments.get(3).trim().parse().ok(), bytes: written(arguments.get(1), result) },
        "ftruncate" => Act::Length { handle: handle()?, bytes: arguments.get(1).trim().parse().ok()? },
        "fsync" | "fdatasync" => Act::Sync { handle: handle()?, begun },
        "mkdir" => Act::MakeFolder { path: at_cwd(0) },
        "mkdirat" => Act::MakeFolder { path: arguments.path(0, 1) },
        "rename" => Act::Rename { from: at_cwd(0), to: at_cwd(1) },
        "renameat" | "renameat2" => Act::Rename { from: arguments.path(0, 1), to: arguments.path(2, 3) },
        "link" => Act::Link { from: at_cwd(0), to: at_cwd(1) },
        "linkat" => Act::Link { from: arguments.path(0, 1), to: arguments.path(2, 3) },
        "unlink" | "rmdir" => Act::Remove { path: at_cwd(0) },
        "unlinkat" => Act::Remove { path: arguments.path(0, 1) },
        "writev" => {
            let parts = arguments.whole.split("iov_base=\"").skip(1).map(|part| part.split('"').next().unwrap_or_default());
            Act::Write { handle: handle()?, at: None, bytes: parts.flat_map(unescaped).collect() }
        }
        other => panic!("the model of the disk does not know {other}"),
    })
}

/// A call's arguments; no text in them has a comma, for every byte of it is written in hex.
struct Arguments<'a> {
    whole: &'a str,
    parts: Vec<&'a str>,
}

impl<'a> Arguments<'a> {
    fn split(whole: &'a str) -> Self {
        Arguments { whole, parts: whole.split(", ").collect() }
    }

    fn get(&self, index: usize) -> &'a str {
        self.parts.get(index).copied().unwrap_or_default()
    }

    /// A path, from the folder that its handle names.
    fn path(&self, folder: usize, name: usize) -> PathBuf {
        let folder = self.get(folder).split_once('<').map(|(_, rest)| rest.trim_end_matches('>')).unwrap_or_default();
        Path::new(&String::from_utf8(unescaped(folder)).unwrap()).join(text(self.get(name)))
    }
}

/// The number at the beginning.
fn number(text: &str) -> Option<i32> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

fn is_socket(handle: &str) -> bool {
    // "socket:", as the trace writes it.
    handle.contains(r"<\x73\x6f\x63\x6b\x65\x74\x3a")
}

fn text(argument: &str) -> String {
    String::from_utf8(bytes(argument)).unwrap()
}

fn bytes(argument: &str) -> Vec<u8> {
    unescaped(argument.trim().trim_matches('"'))
}

/// As many of the bytes as the call has taken.
fn written(argument: &str, result: &str) -> Vec<u8> {
    let mut bytes = bytes(argument);
    bytes.truncate(result.trim().parse().unwrap_or(0));
    bytes
}

/// `\x2f\x74` as bytes.
fn unescaped(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| byte.is_ascii_hexdigit()).collect();
    HEXLOWER.decode(&digits).unwrap_or_else(|_| panic!("no text in hex: {}", &hex[..hex.len().min(80)]))
}
