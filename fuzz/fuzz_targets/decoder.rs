//! A body, decoded: JSON lines, tables, XML, lists within JSON, packed or not. It ends, with JSON or an error. The first
//! byte of the input says which decoder.

#![no_main]

use bytes::Bytes;
use headgate::connector::component::reader::Accept;
use headgate::connector::component::reader::Document;
use headgate::connector::component::reader::Reader;
use headgate::connector::component::records::Decoder;
use headgate::connector::reading::Compat;
use headgate::connector::reading::decode::Decoding;
use headgate::connector::yaml::Repeated;
use headgate::connector::yaml::parse;
use libfuzzer_sys::fuzz_target;

/// The decoders, by the digit that selects them.
const DECODERS: [&str; 9] = [
    "{type: JsonDecoder}",
    "{type: JsonlDecoder}",
    "{type: CsvDecoder, delimiter: ','}",
    "{type: CsvDecoder, delimiter: '\\t', encoding: latin-1, set_values_to_none: [x]}",
    "{type: XmlDecoder}",
    "{type: GzipDecoder, decoder: {type: CsvDecoder}}",
    "{type: ZipfileDecoder, decoder: {type: JsonlDecoder}}",
    "{type: IterableDecoder}",
    "{type: JsonItemsDecoder, items_path: a.b}",
];

fuzz_target!(|input: &[u8]| {
    let Some((first, body)) = input.split_first() else { return };
    let written = DECODERS[usize::from(first.wrapping_sub(b'0')) % DECODERS.len()];
    let node = parse(written, Repeated::Refused).expect("a decoder");
    let decoder = Decoder::accept(&node, &mut Reader::new(Document::Manifest)).expect("a decoder");
    let body = Bytes::copy_from_slice(body);
    for compat in [Compat::Strict, Compat::Safe] {
        let decoded = Decoding::new(Some(&decoder), compat).decode(&body);
        if let (Ok(decoded), false) = (decoded, matches!(decoder, Decoder::JsonDecoder(_))) {
            assert!(serde_json::from_slice::<serde_json::Value>(&decoded).is_ok(), "what {written} makes is no JSON");
        }
    }
});
