//! Packed answers: gzip and zip. What they inflate to is bounded before it is made.

use std::io::Cursor;
use std::io::Read;

use flate2::bufread::GzDecoder;
use flate2::bufread::ZlibDecoder;
use zip::ZipArchive;

use super::DecodeError;
use super::Form;

/// The most bytes that one answer may inflate to, all of its files together.
pub const INFLATED_BYTES_MAX: u64 = 256 << 20;

/// The most files of one archive.
pub const FILES_MAX: usize = 1_000;

/// What a gzip stream begins with (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What a gzip stream holds, all of its members; nothing when the body is none.
pub(super) fn gunzipped(body: &[u8], room: &mut u64) -> Result<Option<Vec<u8>>, DecodeError> {
    if !body.starts_with(&GZIP_MAGIC) {
        return Ok(None);
    }
    let mut all = Vec::new();
    let mut rest = body;
    // Members follow one another (RFC 1952, section 2.2); zeros behind the last are padding.
    while !rest.is_empty() {
        let mut member = GzDecoder::new(rest);
        all.append(&mut inflated(&mut member, room, "gzip stream")?);
        rest = member.into_inner();
        rest = &rest[rest.iter().position(|byte| *byte != 0).unwrap_or(rest.len())..];
    }
    Ok(Some(all))
}

/// What a zlib or gzip stream holds, if the body is one.
pub(super) fn inflated_if_packed(body: &[u8], room: &mut u64) -> Result<Option<Vec<u8>>, DecodeError> {
    if let Some(inflated) = gunzipped(body, room)? {
        return Ok(Some(inflated));
    }
    // RFC 1950, section 2.2: deflate with a window of at most 32 KiB, and a check of the two bytes.
    let zlib =
        matches!(body, [first, second, ..] if first & 0x0f == 8 && first >> 4 <= 7 && u16::from_be_bytes([*first, *second]) % 31 == 0);
    if !zlib {
        return Ok(None);
    }
    match inflated(ZlibDecoder::new(body), room, "zlib stream") {
        // Text may begin like one.
        Err(DecodeError::Damaged { .. }) => Ok(None),
        other => other.map(Some),
    }
}

/// Calls `read` with every file of a zip archive, in the order of its directory.
pub(super) fn each_file(
    body: &[u8],
    form: &mut Form,
    read: impl Fn(&[u8], &mut Form) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let damaged = |source: zip::result::ZipError| DecodeError::Damaged { kind: "zip archive", source: source.into() };
    let mut archive = ZipArchive::new(Cursor::new(body)).map_err(damaged)?;
    if archive.len() > FILES_MAX {
        return Err(DecodeError::TooManyFiles { found: archive.len(), max: FILES_MAX });
    }
    for number in 0..archive.len() {
        let file = archive.by_index(number).map_err(damaged)?;
        if file.is_dir() {
            continue;
        }
        let inflated = inflated(file, &mut form.room, "zip archive")?;
        read(&inflated, form)?;
    }
    Ok(())
}

fn inflated(packed: impl Read, room: &mut u64, kind: &'static str) -> Result<Vec<u8>, DecodeError> {
    let mut inflated = Vec::new();
    packed.take(*room + 1).read_to_end(&mut inflated).map_err(|source| DecodeError::Damaged { kind, source })?;
    *room = room.checked_sub(inflated.len() as u64).ok_or(DecodeError::Inflates)?;
    Ok(inflated)
}
