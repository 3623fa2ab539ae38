use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::ids::ConnectionKey;
use crate::secret::Sealed;
use crate::store::CopyWatch;
use crate::store::Options;
use crate::store::Placed;
use crate::store::Row;
use crate::store::Stop;
use crate::store::StopReason;
use crate::store::Store;
use crate::store::Table;
use crate::store::Unit;

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Cursor(Vec<u8>);

impl Row for Cursor {
    const TABLE: Table = Table::Cursors;
    type Key = (ConnectionKey, u32);
}

const KEPT: ConnectionKey = ConnectionKey { tenant: 1, connection: 7 };
const ERASED: ConnectionKey = ConnectionKey { tenant: 1, connection: 8 };

async fn filled(directory: &Path) -> Store {
    let store = Store::open(directory, &Options::default()).unwrap();
    for owner in [KEPT, ERASED] {
        let mut unit = Unit::default();
        for number in 0..3000_u32 {
            unit.put(&(owner, number), &Cursor(number.to_be_bytes().repeat(40)));
        }
        unit.blocks(owner, 1, 0, Sealed::by_a_key(vec![7; 5000])).audit(b"an act".to_vec());
        store.commit(unit).await.unwrap();
    }
    store.record_stops(&[Stop { owner: ERASED, epoch: 3, reason: StopReason::Revoked, at: Timestamp::UNIX_EPOCH }]).unwrap();
    store
}

async fn backed_up(store: &Store, to: PathBuf) -> Result<BackedUp, CopyError> {
    let store = store.clone();
    let make = move || {
        let order = BackupOrder { to: &to, at: Timestamp::UNIX_EPOCH, test: true, destroyed: &|| Ok(vec![9; 46]) };
        store.backup(&order, &Arc::default())
    };
    tokio::task::spawn_blocking(make).await.unwrap()
}

/// Goal: what is built from a backup is what was backed up, without the connections that are erased since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_brings_back_what_there_was() {
    let folder = tempfile::tempdir().unwrap();
    let (data, to, into) = (folder.path().join("data"), folder.path().join("a/backup"), folder.path().join("into"));
    fs::create_dir(&data).unwrap();
    let store = filled(&data).await;
    let told = backed_up(&store, to.clone()).await.unwrap();
    assert!(matches!(backed_up(&store, to.clone()).await, Err(CopyError::Occupied { .. })));
    assert!(matches!(backed_up(&store, data.join("segments/x")).await, Err(CopyError::Inside { .. })));
    backed_up(&store, data.join("backups/x")).await.unwrap();
    let before = store.scan::<Cursor>(&KEPT.to_bytes(), None, usize::MAX).unwrap();
    let backup = Backup::open(&to, &CopyWatch::default()).unwrap();
    assert_eq!((backup.digest(), backup.audit_entries(), backup.is_test()), (told.digest, 2, true));
    assert_eq!((backup.stops(), backup.destroyed()), (store.stops(), [9; 46].as_slice()));
    let built = backup.build(&into, &|owner| owner == ERASED, &CopyWatch::default()).unwrap();
    assert_eq!((built.rows, built.rows_erased, built.segment_files), (told.rows - 3000, 3000, 1));
    let restored = Store::open(&into, &Options::default()).unwrap();
    assert!(restored.scan::<Cursor>(&KEPT.to_bytes(), None, usize::MAX).unwrap() == before);
    assert_eq!(restored.scan::<Cursor>(&ERASED.to_bytes(), None, 1).unwrap(), []);
    assert_eq!(restored.read_block(KEPT, Placed { extent: 1, offset: 0, bytes: 5000 }).unwrap(), [7; 5000]);
}

/// Goal: a backup with any byte altered, or any file cut off or missing, is refused and the file is named. Method: each
/// file in turn, some places of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_of_a_backup_can_change() {
    let folder = tempfile::tempdir().unwrap();
    let (data, to) = (folder.path().join("data"), folder.path().join("backup"));
    fs::create_dir(&data).unwrap();
    fs::write(data.join("headgate.toml"), "listen = \"127.0.0.1:0\"\n").unwrap();
    backed_up(&filled(&data).await, to.clone()).await.unwrap();
    let names =
        ["backup.json", "rows.zst", "segments.list", "segments/1/7/1.seg", "segments/1/8/1.seg", "stops", "destroyed", "headgate.toml"];
    let files = files_below(&to);
    assert_eq!(files, names.iter().map(|name| to.join(name)).collect::<BTreeSet<_>>());
    for path in files {
        let whole = fs::read(&path).unwrap();
        let altered = (0..20).map(|part| {
            let mut altered = whole.clone();
            altered[part * (whole.len() - 1) / 19] ^= 1 << (part % 8);
            altered
        });
        let cut = [whole.len() - 1, whole.len() / 2, 0].map(|length| whole[..length].to_vec());
        for bytes in altered.chain(cut).chain([[whole.as_slice(), b"x"].concat()]) {
            fs::write(&path, bytes).unwrap();
            refuses(&to, &path);
        }
        fs::remove_file(&path).unwrap();
        match (Backup::open(&to, &CopyWatch::default()).map(drop), path.ends_with("backup.json")) {
            (Err(CopyError::NoBackup { .. }), true) => {}
            (Err(CopyError::Damaged { path: named, .. }), false) if named == path => {}
            (other, _) => panic!("{path:?} is missing: {other:?}"),
        }
        fs::write(&path, whole).unwrap();
    }
    Backup::open(&to, &CopyWatch::default()).map(drop).unwrap();
}

fn refuses(backup: &Path, path: &Path) {
    match Backup::open(backup, &CopyWatch::default()).map(drop) {
        Err(CopyError::Damaged { path: named, .. }) if named == path => {}
        other => panic!("{path:?} is damaged: {other:?}"),
    }
}

fn files_below(folder: &Path) -> BTreeSet<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { BTreeSet::from([path]) }).collect()
}
