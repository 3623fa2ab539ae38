//! Decoders, against facts: each result was had by running the reference engine's own class.

use std::io::Write;

use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use super::*;
use crate::connector::component::source::DeclarativeStream;
use crate::connector::component::source::Retriever;
use crate::connector::reading::support::component;

fn decoding(yaml: &str, compat: Compat) -> Decoding {
    let yaml = format!(
        "name: s\nretriever: {{requester: {{url: 'https://a.example'}}, record_selector: {{extractor: {{field_path: []}}}}, decoder: {yaml}}}"
    );
    let stream: DeclarativeStream = component(&yaml, "DeclarativeSource", "streams");
    let Retriever::SimpleRetriever(retriever) = &stream.retriever else { panic!() };
    Decoding::new(retriever.decoder.as_ref(), compat)
}

fn decode_with(yaml: &str, body: &[u8], compat: Compat) -> Result<Value, DecodeError> {
    let form = decoding(yaml, compat).decode(&Bytes::copy_from_slice(body))?;
    Ok(serde_json::from_slice(&form).unwrap())
}

fn check(yaml: &str, body: impl AsRef<[u8]>, expected: &str) {
    let body = body.as_ref();
    let found = decode_with(yaml, body, Compat::Strict).map(|form| form.to_string());
    let expected: Value = serde_json::from_str(expected).unwrap();
    assert_eq!(found.ok(), Some(expected.to_string()), "{yaml} {:?}", String::from_utf8_lossy(body));
}

fn refused(yaml: &str, body: impl AsRef<[u8]>, word: &str) {
    for compat in [Compat::Strict, Compat::Safe] {
        let message = decode_with(yaml, body.as_ref(), compat).expect_err(word).to_string();
        assert!(message.contains(word), "{message}");
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(content).unwrap();
    packer.finish().unwrap()
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut packer = ::zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        packer.start_file(*name, ::zip::write::SimpleFileOptions::default()).unwrap();
        packer.write_all(content).unwrap();
    }
    packer.finish().unwrap().into_inner()
}

/// Tables: quotes, ends of lines, rows too short and too long, names twice, encodings.
#[test]
fn tables_are_read() {
    let csv = "{type: CsvDecoder}";
    check(csv, "a,b\n1,2\n", r#"[{"a": "1", "b": "2"}]"#);
    check(csv, "a,b\r\n1,\"x\r\ny\"\r\n\r\n3", r#"[{"a": "1", "b": "x\ny"}, {"a": "3", "b": null}]"#);
    check(csv, "a,b\n1,2,3,4\n", r#"[{"a": "1", "b": "2", "null": ["3", "4"]}]"#);
    check(csv, "a,a,b\n1,2,3\n4\n", r#"[{"a": "2", "b": "3"}, {"a": null, "b": null}]"#);
    check(csv, "a,b\n\"x\"\"y\",z\"w\n\"p\"q, r \n", r#"[{"a": "x\"y", "b": "z\"w"}, {"a": "pq", "b": " r "}]"#);
    check(csv, "a,b\n1,\"unclosed\nmore", r#"[{"a": "1", "b": "unclosed\nmore"}]"#);
    check(csv, "a,b\n\" 1\",2\n \"3\",4", r#"[{"a": " 1", "b": "2"}, {"a": " \"3\"", "b": "4"}]"#);
    check(csv, "a\n1\r2\n", r#"[{"a": "1"}, {"a": "2"}]"#);
    check(csv, ",b\n1,x\0y", r#"[{"": "1", "b": "x\u0000y"}]"#);
    check(csv, "", "[]");
    check(csv, "a,b\n", "[]");
    check(csv, "\u{feff}\"a\",b\n1,2", "[{\"\u{feff}\\\"a\\\"\": \"1\", \"b\": \"2\"}]");
    assert_eq!(decode_with(csv, "\u{feff}a\n1".as_bytes(), Compat::Safe).unwrap(), json!([{"a": "1"}]));
    check("{type: CsvDecoder, encoding: utf-8-sig}", "\u{feff}a,b\n1,2", r#"[{"a": "1", "b": "2"}]"#);
    check("{type: CsvDecoder, delimiter: ';'}", "a;b\n1;2", r#"[{"a": "1", "b": "2"}]"#);
    check("{type: CsvDecoder, delimiter: '\\t'}", "a\tb\n1\t2", r#"[{"a": "1", "b": "2"}]"#);
    check("{type: CsvDecoder, encoding: ISO-8859-1}", b"\xe9,b\n\xfc,2", r#"[{"é": "ü", "b": "2"}]"#);
    check("{type: CsvDecoder, encoding: utf-16}", b"\xff\xfea\0,\0b\0\n\x001\0,\x002\0", r#"[{"a": "1", "b": "2"}]"#);
    let nulls = "{type: CsvDecoder, set_values_to_none: ['', 'NULL']}";
    check(nulls, "a,b\n,NULL\nNA,x", r#"[{"a": null, "b": null}, {"a": "NA", "b": "x"}]"#);
    refused(csv, b"\xe9\n\xfc", "utf-8");
}

/// XML: attributes, texts, lists, references, and what is no document.
#[test]
fn documents_are_read() {
    let xml = "{type: XmlDecoder}";
    for (document, expected) in [
        ("<r> </r>", r#"{"r": null}"#),
        ("<r a=\"1\"> t </r>", r##"{"r": {"@a": "1", "#text": "t"}}"##),
        ("<r><i>1</i><j/><i k=\"v\">2</i></r>", r##"{"r": {"i": ["1", {"@k": "v", "#text": "2"}], "j": null}}"##),
        ("<r> x <b>y</b> z </r>", r##"{"r": {"b": "y", "#text": "x  z"}}"##),
        ("<r><![CDATA[<a>& ]]>x</r>", r#"{"r": "<a>& x"}"#),
        ("<r>&lt;&amp;&#65;&#x42;&quot;</r>", r#"{"r": "<&AB\""}"#),
        ("<r a=\"&lt;&#10;x\n\ty\"/>", r#"{"r": {"@a": "<\nx  y"}}"#),
        ("<r>a\r\nb</r>", r#"{"r": "a\nb"}"#),
        ("<n:r xmlns:n=\"u\"><n:i n:a=\"1\">2</n:i></n:r>", r##"{"n:r": {"@xmlns:n": "u", "n:i": {"@n:a": "1", "#text": "2"}}}"##),
        ("<?xml version=\"1.0\"?><!-- c --><r><!-- d -->a<?p?><!-- e -->b</r>", r#"{"r": "ab"}"#),
        ("<!DOCTYPE r><r>a</r>", r#"{"r": "a"}"#),
        ("<r><i/><i/></r>", r#"{"r": {"i": [null, null]}}"#),
        ("<r><a>1</a><b>2</b><a>3</a>t</r>", r##"{"r": {"a": ["1", "3"], "b": "2", "#text": "t"}}"##),
        ("<r><a><b>1</b></a><a><b>2</b><b>3</b></a></r>", r#"{"r": {"a": [{"b": "1"}, {"b": ["2", "3"]}]}}"#),
        ("<r a=\">\" b='\"'>é</r>", r##"{"r": {"@a": ">", "@b": "\"", "#text": "é"}}"##),
    ] {
        check(xml, document, &format!("[{expected}]"));
    }
    for broken in [
        "<r>&nope;</r>",
        "<r>",
        "<r></s>",
        "<r/><s/>",
        "x<r/>",
        "<r a=\"1\" a=\"2\"/>",
        "<r a=1/>",
        "<r>a</r> trailing",
        "<r>]]></r>",
        "<r>\u{1}</r>",
        "<r>a & b</r>",
        "\n<?xml version=\"1.0\"?><r/>",
        "plain",
        "<!DOCTYPE r [<!ENTITY e \"x\">]><r>&e;</r>",
    ] {
        check(xml, broken, "[]");
        let error = decode_with(xml, broken.as_bytes(), Compat::Safe).expect_err(broken);
        assert!(matches!(error, DecodeError::NotXml { .. }), "{broken}: {error}");
    }
    check(xml, " \n", "[]");
}

/// Lines of JSON, lines of text, and one list within a document.
#[test]
fn lines_are_read() {
    let jsonl = "{type: JsonlDecoder}";
    check(jsonl, "{\"a\":1}\n\n \n[1,{\"b\":2}]\r\n5", r#"[{"a":1},[1,{"b":2}],5]"#);
    check(jsonl, r#"{"a":NaN,"b":"NaN","c":[-Infinity]}"#, r#"[{"a":null,"b":"NaN","c":[null]}]"#);
    check(jsonl, "bad\n{\"a\":1} {\"b\":2}\n{\"a\":1}", r#"[{"a":1}]"#);
    let error = decode_with(jsonl, b"{\"a\":1}\nbad", Compat::Safe).expect_err("a line that is no JSON");
    assert!(error.to_string().contains("line 2"), "{error}");
    refused(jsonl, b"{\"a\":\"\xff\"}", "utf-8");
    check(
        "{type: IterableDecoder}",
        "a\r\nb\rc\n\nd\u{e9}",
        r#"[{"record":"a"},{"record":"b"},{"record":"c"},{"record":""},{"record":"dé"}]"#,
    );
    let items = |path: &str| format!("{{type: JsonItemsDecoder, items_path: {path}}}");
    check(&items("a.b"), r#"{"a":{"b":[1,{"x":1}],"c":[2]}}"#, r#"[1,{"x":1}]"#);
    check(&items("a"), r#"{"a":{"b":1}}"#, "[]");
    check(&items("a.item.b"), r#"{"a":[{"b":[1]},{"b":[2,3]}]}"#, "[1,2,3]");
    check(&items("a"), r#"{"a":[1],"a":[2]}"#, "[1,2]");
    check(&items("item.a"), r#"[{"a":[1]}]"#, "[1]");
    refused(&items("a"), r#"{"a":[1,"#, "document");
    refused(&items("a"), r#"{"a":[1]} x"#, "document");
}

/// Packed answers hold what their own decoder reads; what is not packed is taken as it is.
#[test]
fn packed_answers_are_unpacked() {
    let json = "{type: GzipDecoder, decoder: {type: JsonDecoder}}";
    let packed = gzip(b"[1]");
    check(json, &packed, "[1]");
    check(json, [&packed[..], &gzip(b" ")].concat(), "[1]");
    check(json, [&packed[..], b"\0\0"].concat(), "[1]");
    check(json, b"[2]", "[2]");
    check("{type: GzipDecoder, decoder: {type: GzipDecoder, decoder: {type: CsvDecoder}}}", gzip(&gzip(b"a\n1")), r#"[{"a":"1"}]"#);
    refused(json, &packed[..packed.len() - 3], "gzip");
    refused(json, b"\x1f\x8bxx", "gzip");
    refused(json, [&packed[..], b"junk"].concat(), "gzip");
    refused(json, gzip(b"<html>"), "no JSON");
    let table = "{type: ZipfileDecoder, decoder: {type: CsvDecoder}}";
    check(table, zip(&[("a.csv", b"a\n1\n"), ("b.csv", b"b\n2\n3")]), r#"[{"a":"1"},{"b":"2"},{"b":"3"}]"#);
    check("{type: ZipfileDecoder, decoder: {type: JsonDecoder}}", zip(&[("a", b"[1,2]"), ("b", b"{\"c\":3}")]), r#"[1,2,{"c":3}]"#);
    refused(table, b"no archive", "zip");
}

/// The result of a job as a table: packed or not, words for missing values null, names twice numbered.
#[test]
fn results_of_jobs_are_read() {
    let read = |preserve, body: &[u8]| {
        let form = Decoding::download(preserve, Compat::Strict).decode(&Bytes::copy_from_slice(body));
        form.map(|form| serde_json::from_slice::<Value>(&form).unwrap())
    };
    let body = b"a,a,\nNA,1,\nx,n/a,\"null\"\n";
    let expected = json!([{"a": null, "a.1": "1", "Unnamed: 2": null}, {"a": "x", "a.1": null, "Unnamed: 2": null}]);
    assert_eq!(read(false, body).unwrap(), expected);
    assert_eq!(read(false, &gzip(body)).unwrap(), expected);
    let kept = json!([{"a": "NA", "a.1": "1", "Unnamed: 2": null}, {"a": "x", "a.1": "n/a", "Unnamed: 2": "null"}]);
    assert_eq!(read(true, body).unwrap(), kept);
    assert_eq!(read(false, b"a\nx\0y\n").unwrap(), json!([{"a": "xy"}]));
    assert!(matches!(read(false, b"a\n1,2\n"), Err(DecodeError::Ragged { row: 1 })));
}

/// What inflates, repeats or nests without end is refused in bounded memory.
#[test]
fn bombs_are_refused() {
    let within = |yaml: &str, body: &[u8]| {
        let mut form = Form::new(10_000, 10_000);
        decoding(yaml, Compat::Safe).kind.read(body, Compat::Safe, &mut form).map_err(|error| error.to_string())
    };
    let half = gzip(&[b' '; 6_000]);
    let lines = "{type: GzipDecoder, decoder: {type: JsonlDecoder}}";
    assert!(within(lines, &half).is_ok());
    for bomb in [[&half[..], &half].concat(), gzip(&[b' '; 20_000])] {
        assert!(within(lines, &bomb).is_err_and(|error| error.contains("inflates")));
    }
    let nested = "{type: ZipfileDecoder, decoder: {type: GzipDecoder, decoder: {type: JsonlDecoder}}}";
    assert!(within(nested, &zip(&[("a", &half), ("b", &half)])).is_err_and(|error| error.contains("inflates")));
    let wide = format!("{}\n{}", "a".repeat(1_000), "1\n".repeat(10));
    assert!(within("{type: CsvDecoder}", wide.as_bytes()).is_err_and(|error| error.contains("as JSON")));
    let many: Vec<(String, &[u8])> = (0..=FILES_MAX).map(|number| (number.to_string(), &b"a"[..])).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(name, content)| (name.as_str(), *content)).collect();
    refused("{type: ZipfileDecoder, decoder: {type: CsvDecoder}}", zip(&many), "files");
    let deep = "<a>".repeat(XML_DEPTH_MAX + 1) + &"</a>".repeat(XML_DEPTH_MAX + 1);
    refused("{type: XmlDecoder}", deep, "levels");
}

/// JSON stays the very bytes that came, unless it has Python's constants.
#[test]
fn json_is_left_alone() {
    let body = Bytes::from_static(b" {\"a\": 1.50} ");
    let form = decoding("{type: JsonDecoder}", Compat::Safe).decode(&body).unwrap();
    assert_eq!(form.as_ptr(), body.as_ptr());
    check("{type: JsonDecoder}", r#"{"a": "NaN \" NaN", "b": NaN}"#, r#"{"a": "NaN \" NaN", "b": null}"#);
}

proptest! {
    /// Goal: no body makes a decoder panic, and every decoded form is JSON.
    #[test]
    fn any_body(
        body in prop_oneof![
            any::<Vec<u8>>(),
            "[<>/a&;\"'= \\[\\]!-]{0,40}".prop_map(String::into_bytes),
            "[a,\"\n\r]{0,30}".prop_map(String::into_bytes),
            "[\\[\\]{}:,\"a0-9 \n]{0,30}".prop_map(String::into_bytes),
            any::<Vec<u8>>().prop_map(|content| gzip(&content)),
            (any::<Vec<u8>>(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(content, at, byte)| {
                let mut packed = zip(&[("a", &content)]);
                let at = at.index(packed.len());
                packed[at] = byte;
                packed
            }),
        ],
    ) {
        for yaml in [
            "{type: JsonlDecoder}", "{type: CsvDecoder}", "{type: XmlDecoder}", "{type: IterableDecoder}",
            "{type: JsonItemsDecoder, items_path: a}", "{type: CsvDecoder, encoding: utf-16}", "{type: CsvDecoder, encoding: shift_jis}",
            "{type: GzipDecoder, decoder: {type: JsonDecoder}}", "{type: ZipfileDecoder, decoder: {type: JsonlDecoder}}",
        ] {
            for compat in [Compat::Strict, Compat::Safe] {
                if let Ok(form) = decoding(yaml, compat).decode(&Bytes::copy_from_slice(&body)) {
                    prop_assert!(serde_json::from_slice::<Value>(&form).is_ok_and(|form| form.is_array()), "{}", yaml);
                }
            }
        }
        for preserve in [true, false] {
            let _ = Decoding::download(preserve, Compat::Safe).decode(&Bytes::copy_from_slice(&body));
        }
    }
}
