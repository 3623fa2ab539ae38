//! Where records are in an answer, which of them count, and what is changed in them.

use std::rc::Rc;

use crate::connector::component::component;
use crate::connector::component::family;
use crate::connector::component::reader::Accept;
use crate::connector::component::reader::Reader;
use crate::connector::component::value::Expression;
use crate::connector::component::value::choice;
use crate::connector::expression::Literals;
use crate::connector::yaml::Node;

family! {
    /// Where records are, and which of them count.
    Selector { RecordSelector }
}

component! {
    /// Finds the records of an answer and keeps those that count.
    RecordSelector {
        /// Where they are.
        extractor: Extractor;
        /// Which of them count.
        record_filter: Option<Filter>;
        /// Whether values are brought to the types of the schema.
        schema_normalization: Normalization = Normalization::None;
        /// Whether transformations come before the filter; not said, they do where records are filtered by their time.
        transform_before_filtering: Option<bool>;
    }
}

choice! {
    /// Whether values are brought to the types of the schema.
    Normalization { None = "None", Default = "Default" }
}

family! {
    /// Where records are.
    Extractor { DpathExtractor, CombinedExtractor }
}

component! {
    /// Records at a path of the answer; `*` stands for every member.
    DpathExtractor {
        /// The path; empty, the whole body.
        field_path: Vec<Expression> => FieldPath;
        /// Lists within what is found, whose elements are the records.
        record_expander: Option<RecordExpander>;
    }
}

component! {
    /// Makes the elements of a list within each record the records.
    RecordExpander {
        /// The path of the list; `*` stands for every member.
        expand_records_from_field: Vec<Expression> => FieldPath;
        /// Whether each element carries the record it was in, as `original_record`.
        remain_original_record: bool = false;
        /// Members of the record that each element gets.
        parent_fields: Vec<ParentFieldPath> = Vec::new();
        /// Whether each element gets all of the record, without the list.
        merge_parent: bool = false;
        /// What a record without elements becomes.
        on_no_records: OnNoRecords = OnNoRecords::Skip;
        /// The path of a value that is true when the list is not complete; that is told in the log.
        truncation_indicator_path: Vec<Expression> => FieldPath = Vec::new();
    } refused { truncated_list_retriever }
}

component! {
    /// A member of a record that each element of its list gets.
    ParentFieldPath {
        /// Where it is in the record.
        parent_path: Vec<Expression> => FieldPath;
        /// Where it goes in the element.
        record_path: Vec<Expression> => FieldPath;
    }
}

choice! {
    /// What a record becomes whose list has no elements.
    OnNoRecords { Skip = "skip", EmitParent = "emit_parent" }
}

component! {
    /// The records of several extractors.
    CombinedExtractor {
        /// They.
        extractors: Vec<Extractor>;
        /// Whether all of them count, or the first that finds a record.
        mode: CombineMode = CombineMode::Union;
        /// Whether records without content are left out.
        skip_empty_records: bool = false;
    }
}

choice! {
    /// How several extractors work together.
    CombineMode { Union = "union", FirstMatch = "first_match" }
}

family! {
    /// Where the records of an asynchronous job's result are.
    DownloadExtractor { DpathExtractor, CombinedExtractor, ResponseToFileExtractor }
}

component! {
    /// Takes a job's result, plain or compressed, for a table with a header line.
    ResponseToFileExtractor {
        /// Whether words such as `NA` and `null` stay text; else they are null, as an empty cell is.
        preserve_na_values: bool = false;
    }
}

family! {
    /// Which records count.
    Filter { RecordFilter }
}

component! {
    /// Keeps the records for which a condition holds.
    RecordFilter {
        /// The condition.
        condition: Expression => RecordFilter;
    }
}

family! {
    /// How the answer is read.
    Decoder { JsonDecoder, JsonItemsDecoder, JsonlDecoder, CsvDecoder, XmlDecoder, GzipDecoder, ZipfileDecoder, IterableDecoder }
}

family! {
    /// How the content of a compressed answer is read.
    InnerDecoder { JsonDecoder, JsonItemsDecoder, JsonlDecoder, CsvDecoder, GzipDecoder }
}

component! {
    /// Reads the answer as JSON.
    JsonDecoder {}
}

component! {
    /// Reads the elements of one list within a JSON answer, each as an answer of its own.
    JsonItemsDecoder {
        /// The path of the list, with dots between its names.
        items_path: String;
        /// The characters' encoding.
        encoding: Encoding = Encoding::Utf8;
    }
}

component! {
    /// Reads every line of the answer as JSON.
    JsonlDecoder {}
}

component! {
    /// Reads the answer as a table with a header line.
    CsvDecoder {
        /// The characters' encoding.
        encoding: Encoding = Encoding::Utf8;
        /// What stands between cells, such as `,` or `\\t`.
        delimiter: Delimiter = Delimiter(b',');
        /// Cells with one of these texts are null.
        set_values_to_none: Vec<String> = Vec::new();
    }
}

component! {
    /// Reads the answer as XML: attributes with `@` in front of their names, text beside them as `#text`.
    XmlDecoder {}
}

component! {
    /// Reads an answer that may be compressed with gzip.
    GzipDecoder {
        /// How its content is read.
        decoder: InnerDecoder;
    }
}

component! {
    /// Reads every file of a zip archive.
    ZipfileDecoder {
        /// How each is read.
        decoder: InnerDecoder;
    }
}

component! {
    /// Makes every line of the answer a record with the one member `record`.
    IterableDecoder {}
}

/// The encoding of a text answer, by the names that Python's codecs have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `utf-8`
    Utf8,
    /// `utf-8-sig`: UTF-8, a mark at its beginning left out.
    Utf8Signed,
    /// One of the single-byte and legacy encodings of the WHATWG encoding standard that means there what it means in Python.
    Legacy(&'static encoding_rs::Encoding),
    /// `utf-16`, by the mark at its beginning.
    Utf16,
    /// `iso-8859-1`
    Latin1,
    /// `ascii`
    Ascii,
}

impl Accept for Encoding {
    const ACCEPTS: &'static str = "the name of an encoding: utf-8, utf-8-sig, utf-16, utf-16-le, utf-16-be, iso-8859-1, ascii, windows-125x, \
        iso-8859-x, koi8-r, gbk, big5, euc-kr, euc-jp or shift_jis";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let name = String::accept(node, reader)?.to_ascii_lowercase().replace('_', "-");
        let legacy = |label: &str| encoding_rs::Encoding::for_label(label.as_bytes()).map(Encoding::Legacy);
        let encoding = match name.as_str() {
            "utf-8" | "utf8" | "u8" | "utf" => Some(Encoding::Utf8),
            "utf-8-sig" => Some(Encoding::Utf8Signed),
            "utf-16" | "utf16" | "u16" => Some(Encoding::Utf16),
            "utf-16-le" | "utf-16le" => legacy("utf-16le"),
            "utf-16-be" | "utf-16be" => legacy("utf-16be"),
            "iso-8859-1" | "iso8859-1" | "latin-1" | "latin1" | "latin" | "l1" | "cp819" => Some(Encoding::Latin1),
            "ascii" | "us-ascii" => Some(Encoding::Ascii),
            "shift-jis" => legacy("shift_jis"),
            "gbk" | "gb18030" | "big5" | "euc-kr" | "euc-jp" | "koi8-r" | "koi8-u" => legacy(&name),
            // What the standard calls iso-8859-9 and -11 is windows-1254 and -874.
            "iso-8859-9" | "iso-8859-11" => None,
            _ if name.starts_with("windows-125") || name.starts_with("iso-8859-") => legacy(&name),
            _ => name.strip_prefix("cp").filter(|page| page.starts_with("125")).and_then(|page| legacy(&format!("windows-{page}"))),
        };
        encoding.or_else(|| reader.not_accepted(node, Self::ACCEPTS))
    }
}

/// What stands between the cells of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delimiter(pub u8);

impl Accept for Delimiter {
    const ACCEPTS: &'static str = "one ASCII character, or `\\t`";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let text = String::accept(node, reader)?;
        match (text.as_str(), text.as_bytes()) {
            ("\\t", _) => Some(Delimiter(b'\t')),
            (_, [byte @ (0x20..=0x7e | b'\t' | 0x01..=0x08 | 0x1c..=0x1f)]) if *byte != b'"' => Some(Delimiter(*byte)),
            _ => reader.not_accepted(node, Self::ACCEPTS),
        }
    }
}

family! {
    /// A change made to every record.
    Transformation { AddFields, RemoveFields, KeysToLower, KeysToSnakeCase, KeysReplace, FlattenFields, DpathFlattenFields }
}

component! {
    /// Writes values into every record.
    AddFields {
        /// What is written, in order; later fields see the earlier ones.
        fields: Vec<AddedFieldDefinition>;
        /// Where it is not true, nothing is written.
        condition: Option<Expression> => AddFieldCondition;
    }
}

component! {
    /// One value written into every record.
    AddedFieldDefinition {
        /// Where it goes.
        path: Vec<Expression> => FieldPath;
        /// What it is.
        value: Expression => AddField;
        /// The type it must have; without one, whatever the text reads as.
        value_type: Option<ValueType>;
    }
}

choice! {
    /// The type of an added value.
    ValueType { Text = "string", Number = "number", Integer = "integer", Boolean = "boolean" }
}

impl ValueType {
    /// What a rendered text may become where `wanted` is asked for.
    pub fn literals(wanted: Option<Self>) -> Literals {
        match wanted {
            None => Literals::Any,
            Some(ValueType::Text) => Literals::Text,
            Some(ValueType::Number) => Literals::Number,
            Some(ValueType::Integer) => Literals::Integer,
            Some(ValueType::Boolean) => Literals::Boolean,
        }
    }
}

component! {
    /// Takes values out of every record.
    RemoveFields {
        /// Their paths.
        field_pointers: Vec<Vec<String>>;
        /// Only where it is true.
        condition: Option<Expression> => RemoveField;
    }
}

component! {
    /// Writes the names of a record's members in lower case.
    KeysToLower {}
}

component! {
    /// Writes the names of members in snake case, also of those within maps.
    KeysToSnakeCase {}
}

component! {
    /// Replaces a text in the names of members, also of those within maps.
    KeysReplace {
        /// The text.
        old: Expression => AddField;
        /// What takes its place.
        new: Expression => AddField;
    }
}

component! {
    /// Brings everything nested to the top of the record.
    FlattenFields {
        /// Whether lists are taken apart as well.
        flatten_lists: bool = true;
    }
}

component! {
    /// Brings the members of one map to the top of the record, unless one of them has a name that is taken.
    DpathFlattenFields {
        /// The path of the map; `*` stands for the first of several.
        field_path: Vec<Expression> => FieldPath;
        /// Whether the map is taken out where it was.
        delete_origin_value: bool = false;
        /// Whether the record becomes the map, and nothing else stays of it.
        replace_record: bool = false;
        /// What the names of the members become.
        key_transformation: Option<KeyTransformation>;
    }
}

component! {
    /// What goes around the names of members.
    KeyTransformation {
        /// In front.
        prefix: Option<Expression> => FieldPath;
        /// Behind.
        suffix: Option<Expression> => FieldPath;
    }
}
