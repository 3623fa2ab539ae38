//! A disk of a few megabytes that a test can fill, free again and make read-only: a file system in memory, mounted in a
//! namespace of its own, which goes away with the process that holds it and which nobody else sees.

use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;

use tempfile::TempDir;

/// Bytes that are written at a time to fill the disk; the last is a page.
const FILLING_BYTES: [usize; 2] = [64 << 10, 4 << 10];

/// A small disk; it is gone when this is dropped.
pub struct SmallDisk {
    holder: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    point: TempDir,
}

impl SmallDisk {
    /// Mounts a disk of that size; none, and a word about it, where this user may not.
    pub fn mount(bytes: u64) -> Option<Self> {
        // Root has the right to mount; another user has it in a user namespace, where there is one.
        let disk = ["-m", "-Urm"].into_iter().find_map(|flags| Self::held(flags, bytes));
        if disk.is_none() {
            println!("skipped: this user cannot mount a small disk");
        }
        disk
    }

    fn held(flags: &str, bytes: u64) -> Option<Self> {
        let mut shell = Command::new("unshare");
        shell.args([flags, "sh"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = shell.spawn().ok()?;
        let (orders, answers) = (holder.stdin.take()?, BufReader::new(holder.stdout.take()?));
        let mut disk = SmallDisk { holder, orders, answers, point: tempfile::tempdir().ok()? };
        let point = disk.point.path().to_owned();
        disk.order(&format!("mount -t tmpfs -o size={bytes},mode=0777 tmpfs {point:?}")).then_some(disk)
    }

    /// Lets the holder carry out a command; whether it succeeded.
    fn order(&mut self, command: &str) -> bool {
        let mut answer = String::new();
        let asked = writeln!(self.orders, "{command}; echo $?").and_then(|()| self.orders.flush());
        asked.is_ok() && self.answers.read_line(&mut answer).is_ok() && answer.trim() == "0"
    }

    /// Where the disk is: a path that leads through its holder, for every process of this user.
    pub fn path(&self) -> PathBuf {
        let inside = self.point.path().strip_prefix("/").unwrap();
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(inside)
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Takes every free byte away.
    pub fn fill(&self) {
        let mut ballast = File::options().append(true).create(true).open(self.ballast()).unwrap();
        for bytes in FILLING_BYTES {
            let error = loop {
                if let Err(error) = ballast.write_all(&vec![1; bytes]) {
                    break error;
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
        }
    }

    /// Gives the bytes back that [`SmallDisk::fill`] took.
    pub fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    /// Lets nobody write, or everybody again. No file may be open for writing then.
    pub fn read_only(&mut self, is_read_only: bool) {
        let (point, mode) = (self.point.path().to_owned(), if is_read_only { "ro" } else { "rw" });
        assert!(self.order(&format!("mount -o remount,{mode} {point:?}")), "the disk cannot be remounted");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
