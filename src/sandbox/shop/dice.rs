//! Choices that depend on seed, stream and index alone: the same shop every time, and no memory for its records.

/// A die for one record.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The die of record `index` of the stream numbered `stream`.
    pub fn new(seed: u64, stream: u64, index: u64) -> Self {
        Dice(mix(seed ^ mix(stream.wrapping_mul(0xA076_1D64_78BD_642F) ^ index)))
    }

    /// A number in `0..bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0).checked_rem(bound).unwrap_or(0)
    }

    /// One of a list.
    pub fn pick(&mut self, list: &[&'static str]) -> &'static str {
        let index = usize::try_from(self.below(list.len() as u64)).unwrap_or(0);
        list.get(index).copied().unwrap_or("")
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): every bit of the input changes half of the output.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// Given names.
pub const FIRST_NAMES: &[&str] = &[
    "Amara", "Bruno", "Chiara", "Dmitri", "Elif", "Farid", "Greta", "Hiro", "Ines", "Jonas", "Kaia", "Liam", "Mireille", "Nadia", "Oskar",
    "Priya", "Quentin", "Rosa", "Sven", "Tomasz", "Uma", "Viktor", "Wanda", "Yusuf",
];

/// Family names.
pub const LAST_NAMES: &[&str] = &[
    "Abbott",
    "Baumann",
    "Castillo",
    "Dubois",
    "Eriksen",
    "Fontana",
    "Garcia",
    "Hoffmann",
    "Ivanova",
    "Jansen",
    "Kowalski",
    "Lindqvist",
    "Moreau",
    "Nakamura",
    "Okafor",
    "Petrov",
    "Quinn",
    "Rossi",
    "Silva",
    "Tanaka",
    "Usman",
    "Vogel",
    "Weber",
    "Zhang",
];

/// Streets.
pub const STREETS: &[&str] =
    &["Harbour Road", "Mill Lane", "Station Street", "Orchard Way", "Quay Walk", "Foundry Close", "Market Square", "Canal Terrace"];

/// Cities with region, post code and country.
pub const CITIES: &[(&str, &str, &str, &str)] = &[
    ("Portland", "OR", "97201", "US"),
    ("Leipzig", "SN", "04109", "DE"),
    ("Lyon", "ARA", "69002", "FR"),
    ("Gdansk", "PM", "80-831", "PL"),
    ("Porto", "13", "4050-253", "PT"),
    ("Leeds", "WYK", "LS1 4AP", "GB"),
    ("Utrecht", "UT", "3511 CE", "NL"),
    ("Aarhus", "82", "8000", "DK"),
];

/// Nouns of the shop's goods.
pub const GOODS: &[&str] =
    &["Kettle", "Lantern", "Rucksack", "Notebook", "Teapot", "Blanket", "Compass", "Apron", "Candle", "Toolbox", "Hammock", "Umbrella"];

/// What distinguishes goods of one noun.
pub const FINISHES: &[&str] = &["Copper", "Slate", "Oak", "Linen", "Ivory", "Moss", "Cobalt", "Amber"];

/// Who carries the parcels.
pub const CARRIERS: &[&str] = &["northpost", "swiftvan", "bluefreight"];

/// What customers write beside their orders.
pub const NOTES: &[&str] = &[
    "Please leave the parcel with the neighbour on the ground floor.",
    "This is a present: no price on the packing slip, please.",
    "The door bell does not work, so call the number above on arrival.",
    "Deliver on a weekday between nine and five.",
];
