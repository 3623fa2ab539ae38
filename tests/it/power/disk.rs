//! A disk that forgets what was not synced. It follows a process's acts and can be cut at any of them: what was synced before
//! is there; of every later write any sector may be there or not; of the later changes of a folder, as many of the first
//! as it pleases, in their order.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;

use super::trace::Act;
use super::trace::Done;
use crate::support::dice::Dice;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// The disk: names and what they lead to, as the process sees them and as a power loss would leave them.
pub struct Disk {
    root: PathBuf,
    files: Vec<File>,
    /// As the process sees them.
    names: BTreeMap<PathBuf, Node>,
    /// As they are on disk for sure.
    lasting: BTreeMap<PathBuf, Node>,
    /// Changes of names since their folder was synced.
    changes: BTreeMap<PathBuf, Vec<(usize, Change)>>,
    handles: HashMap<i32, usize>,
    openings: Vec<Opening>,
    forgets: Option<String>,
    /// The writes and changes that a cut has dropped or torn so far.
    pub dropped: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    File(usize),
    Folder,
}

#[derive(Debug, Clone)]
enum Change {
    Put { path: PathBuf, node: Node },
    Take { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
}

#[derive(Default)]
struct File {
    lasting: Vec<u8>,
    bytes: u64,
    writes: Vec<(usize, Write)>,
}

enum Write {
    Bytes { at: u64, bytes: Vec<u8> },
    Length(u64),
}

struct Opening {
    target: Target,
    at: u64,
    appends: bool,
}

enum Target {
    File(usize),
    Folder(PathBuf),
    /// Outside of the disk.
    Elsewhere,
}

impl Disk {
    /// The disk below `root`, with these files, all of them synced. What lies on a path that has `forgets` in it is never
    /// synced: a fault that the checks have to find.
    pub fn new(root: &Path, files: &[PathBuf], forgets: Option<String>) -> Self {
        let mut disk = Disk {
            root: root.to_owned(),
            files: Vec::new(),
            names: BTreeMap::new(),
            lasting: BTreeMap::new(),
            changes: BTreeMap::new(),
            handles: HashMap::new(),
            openings: Vec::new(),
            forgets,
            dropped: 0,
        };
        disk.names.insert(root.to_owned(), Node::Folder);
        for path in files {
            for folder in path.ancestors().skip(1).take_while(|folder| folder.starts_with(root)) {
                disk.names.insert(folder.to_owned(), Node::Folder);
            }
            let lasting = std::fs::read(path).unwrap();
            disk.names.insert(path.clone(), Node::File(disk.files.len()));
            disk.files.push(File { bytes: lasting.len() as u64, lasting, writes: Vec::new() });
        }
        disk.lasting = disk.names.clone();
        disk
    }

    /// Follows an act.
    pub fn follow(&mut self, Done { line, act }: &Done) {
        match act {
            Act::Open { handle, path, created, truncated, appends } => self.open(*line, *handle, path, (*created, *truncated, *appends)),
            Act::Close { handle } => drop(self.handles.remove(handle)),
            Act::Duplicate { handle, copy } => {
                if let Some(opening) = self.handles.get(handle).copied() {
                    self.handles.insert(*copy, opening);
                }
            }
            Act::Seek { handle, at } => self.opening(*handle, |opening| opening.at = *at),
            Act::Skip { handle, bytes } => self.opening(*handle, |opening| opening.at += *bytes),
            Act::Write { handle, at, bytes } => self.write(*line, *handle, *at, bytes),
            Act::Length { handle, bytes } => {
                if let Some(file) = self.file_of(*handle) {
                    self.files[file].writes.push((*line, Write::Length(*bytes)));
                    self.files[file].bytes = *bytes;
                }
            }
            Act::Sync { handle, begun } => self.sync(*handle, *begun),
            Act::MakeFolder { path } => self.change(*line, Change::Put { path: path.clone(), node: Node::Folder }),
            Act::Rename { from, to } => self.change(*line, Change::Rename { from: from.clone(), to: to.clone() }),
            Act::Link { from, to } => {
                if let Some(node) = self.names.get(from).copied() {
                    self.change(*line, Change::Put { path: to.clone(), node });
                }
            }
            Act::Remove { path } => self.change(*line, Change::Take { path: path.clone() }),
            Act::Answer | Act::Mark { .. } => {}
        }
    }

    fn open(&mut self, line: usize, handle: i32, path: &Path, (created, truncated, appends): (bool, bool, bool)) {
        let found = self.names.get(path).copied();
        let target = match found {
            _ if !path.starts_with(&self.root) => Target::Elsewhere,
            Some(Node::File(file)) => Target::File(file),
            Some(Node::Folder) => Target::Folder(path.to_owned()),
            None if created => {
                let file = self.files.len();
                self.files.push(File::default());
                self.change(line, Change::Put { path: path.to_owned(), node: Node::File(file) });
                Target::File(file)
            }
            // What the test makes beside the data directory.
            None => Target::Elsewhere,
        };
        if let (Target::File(file), true) = (&target, truncated) {
            self.files[*file].writes.push((line, Write::Length(0)));
            self.files[*file].bytes = 0;
        }
        self.handles.insert(handle, self.openings.len());
        self.openings.push(Opening { target, at: 0, appends });
    }

    fn opening(&mut self, handle: i32, change: impl FnOnce(&mut Opening)) {
        if let Some(opening) = self.handles.get(&handle) {
            change(&mut self.openings[*opening]);
        }
    }

    fn file_of(&self, handle: i32) -> Option<usize> {
        match self.openings[*self.handles.get(&handle)?].target {
            Target::File(file) => Some(file),
            Target::Folder(_) | Target::Elsewhere => None,
        }
    }

    fn write(&mut self, line: usize, handle: i32, at: Option<u64>, bytes: &[u8]) {
        let Some(file) = self.file_of(handle) else { return };
        let end = self.files[file].bytes;
        let opening = &mut self.openings[self.handles[&handle]];
        let place = at.unwrap_or(if opening.appends { end } else { opening.at });
        if at.is_none() {
            opening.at = place + bytes.len() as u64;
        }
        self.files[file].bytes = end.max(place + bytes.len() as u64);
        self.files[file].writes.push((line, Write::Bytes { at: place, bytes: bytes.to_vec() }));
    }

    /// Makes what was done before a line last.
    fn sync(&mut self, handle: i32, begun: usize) {
        let Some(opening) = self.handles.get(&handle).copied() else { return };
        match &self.openings[opening].target {
            Target::File(file) => {
                let is_forgotten = |path: &Path| self.forgets.as_ref().is_some_and(|part| path.to_string_lossy().contains(part.as_str()));
                if self.names.iter().any(|(path, node)| *node == Node::File(*file) && is_forgotten(path)) {
                    return;
                }
                let File { lasting, writes, .. } = &mut self.files[*file];
                let later = writes.iter().position(|(line, _)| *line >= begun).unwrap_or(writes.len());
                writes.drain(..later).for_each(|(_, write)| write.carry_out(lasting, |_| true));
            }
            Target::Folder(folder) => {
                let Some(changes) = self.changes.get_mut(folder) else { return };
                let later = changes.iter().position(|(line, _)| *line >= begun).unwrap_or(changes.len());
                for (_, change) in changes.drain(..later).collect::<Vec<_>>() {
                    change.carry_out(&mut self.lasting);
                }
            }
            Target::Elsewhere => {}
        }
    }

    fn change(&mut self, line: usize, change: Change) {
        let (path, moved) = match &change {
            Change::Put { path, .. } | Change::Take { path } => (path.clone(), None),
            Change::Rename { from, to } => (to.clone(), Some(from.clone())),
        };
        if !path.starts_with(&self.root) {
            return;
        }
        change.carry_out(&mut self.names);
        let folder = path.parent().unwrap().to_owned();
        if let Some(from) = moved {
            assert_eq!(from.parent(), path.parent(), "a rename to another folder is not of the model");
            // The changes within a folder go with its name.
            let within: Vec<PathBuf> = self.changes.keys().filter(|folder| folder.starts_with(&from)).cloned().collect();
            for old in within {
                let changes = self.changes.remove(&old).unwrap();
                let new = path.join(old.strip_prefix(&from).unwrap());
                self.changes.insert(new, changes.into_iter().map(|(line, change)| (line, change.under(&from, &path))).collect());
            }
        }
        self.changes.entry(folder).or_default().push((line, change));
    }

    /// Writes what a power loss at this moment could leave into another folder.
    pub fn cut(&mut self, dice: &mut Dice, into: &Path) {
        let mut names = self.lasting.clone();
        let mut dropped = 0;
        for changes in self.changes.values() {
            let kept = dice.roll(changes.len() as u64 + 1) as usize;
            dropped += (changes.len() - kept) as u64;
            changes[..kept].iter().for_each(|(_, change)| change.carry_out(&mut names));
        }
        for (path, node) in &names {
            // What lies in a folder whose own name was lost is lost.
            let is_there = path
                .ancestors()
                .skip(1)
                .take_while(|above| above.starts_with(&self.root))
                .all(|above| names.get(above) == Some(&Node::Folder));
            let Some(target) = path.strip_prefix(&self.root).ok().filter(|_| is_there) else { continue };
            let target = into.join(target);
            match node {
                Node::Folder => std::fs::create_dir_all(target).unwrap(),
                Node::File(file) => {
                    let File { lasting, writes, .. } = &self.files[*file];
                    let mut left = lasting.clone();
                    for (_, write) in writes {
                        let fate = dice.roll(3);
                        dropped += u64::from(fate > 0);
                        // Kept, dropped, or some of its sectors.
                        write.carry_out(&mut left, |_| fate == 0 || fate == 2 && dice.roll(2) == 0);
                    }
                    std::fs::write(target, left).unwrap();
                }
            }
        }
        self.dropped += dropped;
    }
}

impl Write {
    /// Carries the write out on a file's bytes, for those sectors that `keeps` lets through.
    fn carry_out(&self, file: &mut Vec<u8>, mut keeps: impl FnMut(u64) -> bool) {
        match self {
            Write::Length(bytes) => {
                if keeps(0) {
                    file.resize(*bytes as usize, 0);
                }
            }
            Write::Bytes { at, bytes } => {
                let (mut place, mut rest) = (*at as usize, bytes.as_slice());
                while !rest.is_empty() {
                    let (sector, later) = rest.split_at(rest.len().min(SECTOR_BYTES - place % SECTOR_BYTES));
                    if keeps((place / SECTOR_BYTES) as u64) {
                        file.resize(file.len().max(place + sector.len()), 0);
                        file[place..place + sector.len()].copy_from_slice(sector);
                    }
                    place += sector.len();
                    rest = later;
                }
            }
        }
    }
}

impl Change {
    fn carry_out(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Change::Put { path, node } => drop(names.insert(path.clone(), *node)),
            Change::Take { path } => drop(names.remove(path)),
            Change::Rename { from, to } => {
                let moved: Vec<PathBuf> = names.keys().filter(|path| path.starts_with(from)).cloned().collect();
                for path in moved {
                    let node = names.remove(&path).unwrap();
                    let rest = path.strip_prefix(from).unwrap();
                    names.insert(if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) }, node);
                }
            }
        }
    }

    fn under(self, from: &Path, to: &Path) -> Self {
        let moved = |path: PathBuf| path.strip_prefix(from).map(|rest| to.join(rest)).unwrap_or(path);
        match self {
            Change::Put { path, node } => Change::Put { path: moved(path), node },
            Change::Take { path } => Change::Take { path: moved(path) },
            Change::Rename { from, to } => Change::Rename { from: moved(from), to: moved(to) },
        }
    }
}
