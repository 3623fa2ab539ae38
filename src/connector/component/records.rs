//! Where records are in an answer, which of them count, and what is changed in them.

use crate::connector::component::component;
use crate::connector::component::family;
use crate::connector::component::value::Expression;
use crate::connector::component::value::choice;
use crate::connector::expression::Literals;

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
        /// Whether transformations come before the filter.
        transform_before_filtering: bool = false;
    }
}

choice! {
    /// Whether values are brought to the types of the schema.
    Normalization { None = "None" }
}

family! {
    /// Where records are.
    Extractor { DpathExtractor }
}

component! {
    /// Records at a path of the answer; `*` stands for every member.
    DpathExtractor {
        /// The path; empty, the whole body.
        field_path: Vec<Expression> => FieldPath;
    } refused { record_expander }
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
    Decoder { JsonDecoder }
}

component! {
    /// Reads the answer as JSON.
    JsonDecoder {}
}

family! {
    /// A change made to every record.
    Transformation { AddFields, RemoveFields }
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
