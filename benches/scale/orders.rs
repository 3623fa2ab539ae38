//! Orders of about 1 KB, made from their numbers.

use std::fmt::Write;

/// A page of the orders of these numbers.
pub fn render(numbers: &[usize]) -> String {
    let mut page = String::from("{\"orders\":[");
    for (index, number) in numbers.iter().enumerate() {
        if index > 0 {
            page.push(',');
        }
        order(&mut page, *number);
    }
    page.push_str("]}");
    page
}

/// An order of a number, always the same, with as much that differs between orders as a real one has.
fn order(page: &mut String, number: usize) {
    let dice = |sides: usize, throw: usize| (number.wrapping_mul(2_654_435_761).rotate_left(throw as u32 * 7) >> 5) % sides;
    let _ = write!(page, r#"{{"id":{},"order_number":"{}","#, 7_000_000 + number, order_number(number));
    let _ = write!(page, r#""placed_at":"2026-{:02}-{:02}T{:02}:{:02}:00Z","#, 1 + dice(12, 1), 1 + dice(28, 2), dice(24, 3), dice(60, 4));
    let _ = write!(page, r#""state":"{}","currency":"EUR","#, ["open", "paid", "sent", "returned"][dice(4, 5)]);
    let _ = write!(page, r#""total":"{}.{:02}","tax":"{}.{:02}","#, dice(900, 6), dice(100, 7), dice(90, 8), dice(100, 1));
    for (role, throw) in [("buyer", 1), ("recipient", 4)] {
        let _ = write!(
            page,
            r#""{role}":{{"name":"Person {}","street":"{} Harbour Street","city":"{}","postcode":"{:05}","country":"{}","mail":"p{}@post.example"}},"#,
            dice(50_000, throw),
            dice(300, throw + 1),
            ["Leeds", "Graz", "Porto", "Turku", "Brest"][dice(5, throw + 2)],
            dice(99_999, throw + 3),
            ["GB", "AT", "PT", "FI", "FR"][dice(5, throw + 2)],
            dice(70_000, throw)
        );
    }
    page.push_str("\"lines\":[");
    for line in 0..1 + dice(3, 3) {
        let comma = if line > 0 { "," } else { "" };
        let _ = write!(
            page,
            r#"{comma}{{"sku":"AB-{:05}","title":"Garden chair, folding, model {}","quantity":{},"price":"{}.{:02}","rate":0.2}}"#,
            dice(20_000, line),
            dice(400, line + 1),
            1 + dice(4, line + 2),
            dice(300, line + 3),
            dice(100, line)
        );
    }
    let _ = write!(
        page,
        r#"],"shipment":{{"carrier":"{}","reference":"TR{:012}","events":["collected","sorted","on the road"]}},"remarks":null,"channel":"web","gift":false}}"#,
        ["North Post", "Blue Van", "Rail Parcel"][dice(3, 2)],
        dice(999_999_999, 1)
    );
}

/// The order number of an order.
pub fn order_number(number: usize) -> String {
    format!("S-{number:08}")
}
