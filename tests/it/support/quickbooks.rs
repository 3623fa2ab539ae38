//! QuickBooks Online: its authorization server and its query endpoint, as far as the connector uses them.
//!
//! Facts: Intuit's documentation of tokens, limits and error codes, the provider table; those marked (k) are general knowledge,
//! not looked up. All records are the tests' own.

use std::collections::BTreeMap;

use headgate::clock::Clock;
use headgate::clock::Timestamp;
use jiff::SignedDuration;
use regex::Regex;
use serde_json::Value;
use serde_json::json;

use crate::support::application::Application;
use crate::support::application::CLIENT_ID;
use crate::support::application::CLIENT_SECRET;
use crate::support::application::basic;
use crate::support::http::Asked;
use crate::support::http::Reply;
use crate::support::http::first;

/// Where the application is.
pub const PLACES: [&str; 4] = [
    "https://appcenter.intuit.com",
    "https://oauth.platform.intuit.com",
    "https://developer.api.intuit.com",
    "https://quickbooks.api.intuit.com",
];
/// The company.
pub const REALM: &str = "9341453512345678901";
/// The entities, in the order of the streams.
pub const ENTITIES: [&str; 10] =
    ["Customer", "Item", "Invoice", "SalesReceipt", "CreditMemo", "Payment", "RefundReceipt", "Vendor", "Bill", "PurchaseOrder"];
/// The most records of one answer.
const RESULTS_MAX: usize = 1_000;
/// A query as the application reads it, as far as the connector writes it.
const QUERY: &str = r"(?i)^select \* from (\w+) where MetaData\.LastUpdatedTime >= '([^']+)'( and Active in \(true, false\))? orderby Id startposition (\d+) maxresults (\d+)$";

/// A company's books.
pub struct QuickBooks {
    clock: Clock,
    /// The records by entity.
    pub entities: BTreeMap<&'static str, Vec<Value>>,
    /// Every code and token so far.
    pub issued: Vec<String>,
    /// The tokens that were revoked.
    pub revoked: Vec<String>,
    access: Option<(String, Timestamp)>,
    refresh: Option<String>,
    codes: Vec<String>,
}

impl QuickBooks {
    /// Books with three records of each entity, and invoices for two answers.
    pub fn open(clock: &Clock) -> Self {
        let many = |entity: &str| if entity == "Invoice" { RESULTS_MAX as u64 + 2 } else { 3 };
        let entities = ENTITIES.map(|entity| (entity, (1..=many(entity)).map(|number| record(entity, number)).collect()));
        let (issued, revoked, codes) = (Vec::new(), Vec::new(), Vec::new());
        Self { clock: clock.clone(), entities: entities.into(), issued, revoked, access: None, refresh: None, codes }
    }

    fn fresh(&mut self, kind: &str) -> String {
        let text = format!("{kind}{:04}CaNaRy", self.issued.len());
        self.issued.push(text.clone());
        text
    }

    /// The page of consent; the redirect names the company.
    fn authorize(&mut self, asked: &Asked) -> Reply {
        let get = |name: &str| asked.parameter(name).unwrap_or_default();
        if (get("client_id"), get("response_type"), get("scope")) != (CLIENT_ID, "code", "com.intuit.quickbooks.accounting") {
            return Reply::text(400, "The client_id, response_type or scope is invalid.");
        }
        let code = self.fresh("AB11");
        self.codes.push(code.clone());
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs([("code", code.as_str()), ("state", get("state")), ("realmId", REALM)]);
        Reply::text(302, "").header("Location", format!("{}?{}", get("redirect_uri"), query.finish()))
    }

    /// A code and a refresh token are good once each.
    fn token(&mut self, asked: &Asked) -> Reply {
        if asked.header("authorization") != Some(&escaped_basic()) {
            return Reply::json(&json!({"error": "invalid_client"})).status(401);
        }
        let form = asked.form();
        let granted = match first(&form, "grant_type") {
            Some("authorization_code") => {
                let at = self.codes.iter().position(|code| first(&form, "code") == Some(code));
                at.map(|at| self.codes.remove(at)).is_some()
            }
            Some("refresh_token") => self.refresh.is_some() && first(&form, "refresh_token") == self.refresh.as_deref(),
            _ => false,
        };
        if !granted {
            return Reply::json(&json!({"error": "invalid_grant", "error_description": "Incorrect or invalid refresh token"})).status(400);
        }
        let (access, refresh) = (self.fresh("eyJlbmMi"), self.fresh("RT1-"));
        self.access = Some((access.clone(), self.clock.now() + SignedDuration::from_hours(1)));
        self.refresh = Some(refresh.clone());
        Reply::json(&json!({
            "token_type": "bearer", "access_token": access, "expires_in": 3600, "refresh_token": refresh,
            "x_refresh_token_expires_in": 8_726_400,
        }))
    }

    /// One token's end is that of the authorization. That a form is read here is (k).
    fn revoke(&mut self, asked: &Asked) -> Reply {
        let form = asked.form();
        let token = first(&form, "token").unwrap_or_default().to_owned();
        let known = self.refresh.as_ref() == Some(&token) || self.access.as_ref().is_some_and(|(access, _)| *access == token);
        if asked.header("authorization") != Some(&escaped_basic()) || !known {
            return Reply::json(&json!({"error": "invalid_request"})).status(400);
        }
        self.revoked.push(token);
        self.disconnect();
        Reply::text(200, "")
    }

    /// The customer disconnects the app.
    pub fn disconnect(&mut self) {
        (self.access, self.refresh) = (None, None);
    }

    fn query(&self, asked: &Asked) -> Reply {
        let now = self.clock.now();
        let good = self
            .access
            .as_ref()
            .is_some_and(|(access, until)| asked.header("authorization") == Some(&format!("Bearer {access}")) && now < *until);
        if !good {
            return fault(401, "AuthenticationFault", "3200", "message=AuthenticationFailed; errorCode=003200; statusCode=401");
        }
        if asked.path != format!("/v3/company/{REALM}/query") {
            return fault(403, "AuthorizationFault", "3100", "message=ApplicationAuthorizationFailed; errorCode=003100; statusCode=403");
        }
        if asked.header("accept") != Some("application/json") || asked.parameter("minorversion").is_none() {
            return Reply::text(200, "<IntuitResponse/>").header("Content-Type", "application/xml");
        }
        let query = asked.parameter("query").unwrap_or_default();
        let read = Regex::new(QUERY).unwrap().captures(query);
        let Some((read, records)) = read.and_then(|read| self.entities.get(&read[1]).map(|records| (read, records))) else {
            return fault(400, "ValidationFault", "4000", "Error parsing query");
        };
        let since: Timestamp = read[2].parse().unwrap();
        let with_inactive = read.get(3).is_some();
        let (start, most): (usize, usize) = (read[4].parse().unwrap(), read[5].parse().unwrap());
        if start == 0 || most > RESULTS_MAX {
            return fault(400, "ValidationFault", "4001", "Invalid query");
        }
        let listed: Vec<&Value> = records
            .iter()
            .filter(|record| record["MetaData"]["LastUpdatedTime"].as_str().unwrap().parse::<Timestamp>().unwrap() >= since)
            .filter(|record| with_inactive || record["Active"] != false)
            .skip(start - 1)
            .take(most)
            .collect();
        let time = now.to_string();
        if listed.is_empty() {
            return Reply::json(&json!({"QueryResponse": {}, "time": time}));
        }
        let entity = &read[1];
        Reply::json(&json!({"QueryResponse": {entity: listed, "startPosition": start, "maxResults": listed.len()}, "time": time}))
    }
}

impl Application for QuickBooks {
    fn answer(&mut self, asked: &Asked) -> Reply {
        let reply = match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/connect/oauth2") => self.authorize(asked),
            ("POST", "/oauth2/v1/tokens/bearer") => self.token(asked),
            ("POST", "/v2/oauth2/tokens/revoke") => self.revoke(asked),
            ("GET", path) if path.starts_with("/v3/company/") => self.query(asked),
            _ => Reply::text(404, ""),
        };
        reply.header("intuit_tid", "1-65a1c0de-0000")
    }
}

/// The refusal of more than 500 requests a minute; that a header names the wait is (k).
pub fn too_many() -> Reply {
    fault(429, "ThrottleFault", "3001", "message=ThrottleExceeded; errorCode=003001; statusCode=429").header("Retry-After", "1")
}

/// Intuit's fault, which may come with the status 200.
pub fn fault(status: u16, kind: &str, code: &str, message: &str) -> Reply {
    let error = json!({"Message": message, "Detail": message, "code": code});
    Reply::json(&json!({"Fault": {"Error": [error], "type": kind}, "time": "2026-11-24T02:00:00.000-08:00"})).status(status)
}

/// The client's credential as RFC 6749 section 2.3.1 has it: escaped.
fn escaped_basic() -> String {
    let escaped = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    basic(&escaped(CLIENT_ID), &escaped(CLIENT_SECRET))
}

fn record(entity: &str, number: u64) -> Value {
    let id = number.to_string();
    let named = json!({"value": "1", "name": "Bea Buyer"});
    let sold = json!([{"Id": "1", "Amount": 20.0, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {"ItemRef": {"value": "2"}, "Qty": 2}}]);
    let bought = json!([{"Id": "1", "Amount": 20.0, "ItemBasedExpenseLineDetail": {"ItemRef": {"value": "2"}, "Qty": 2}}]);
    let mut record = match entity {
        "Customer" => json!({"DisplayName": "Bea Buyer", "GivenName": "Bea", "PrimaryEmailAddr": {"Address": "bea@shop.example"}}),
        "Item" => {
            json!({"Name": format!("Bolt {number}"), "Sku": format!("BOLT-{number}"), "Type": "Inventory", "UnitPrice": 10.5, "QtyOnHand": 7})
        }
        "Payment" => json!({
            "TxnDate": "2026-11-12", "TotalAmt": 20.0, "CustomerRef": named, "PaymentRefNum": format!("ch_own{number}"),
            "Line": [{"Amount": 20.0, "LinkedTxn": [{"TxnId": id, "TxnType": "Invoice"}]}],
        }),
        "Vendor" => json!({"DisplayName": "Steel & Co", "AcctNum": "4711"}),
        "Bill" => {
            json!({"DocNumber": format!("B-{number}"), "TotalAmt": 20.0, "VendorRef": {"value": "1", "name": "Steel & Co"}, "Line": bought})
        }
        "PurchaseOrder" => {
            json!({"DocNumber": format!("P-{number}"), "POStatus": "Open", "TotalAmt": 20.0, "VendorRef": {"value": "1"}, "Line": bought})
        }
        _ => json!({
            "DocNumber": format!("{}-{number}", &entity[..1]), "TxnDate": "2026-11-12", "TotalAmt": 20.0, "Balance": 20.0, "CustomerRef": named,
            "BillEmail": {"Address": "bea@shop.example"}, "Line": sold, "TrackingNum": format!("1Z{entity}{number}"),
        }),
    };
    // The second customer, item and vendor are inactive.
    if ["Customer", "Item", "Vendor"].contains(&entity) {
        record["Active"] = (number != 2).into();
    }
    record["Id"] = id.into();
    record["SyncToken"] = "0".into();
    let at = format!("2026-11-{:02}T09:00:00-08:00", 10 + number % 5);
    record["MetaData"] = json!({"CreateTime": at, "LastUpdatedTime": at});
    record
}
