//! Google's Routes API, method `computeRoutes`.
//!
//! Source: "Compute Routes" of the Routes API's reference: `travelMode`, field masks, `geocodingResults` and the errors
//! that Google's APIs share (`error.status`, `error.details[].reason`).

use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::json;

use super::{Answer, Failure, Key, Profile, Way, call, exhausted, refused, undocumented};
use crate::commute::estimate::{Flag, OFFICE_ADDRESS, Position};

const NAME: &str = "Google Routes";

/// What is asked for; Google bills by it.
const FIELDS: &str = "routes.distanceMeters,routes.legs.startLocation,geocodingResults.origin";

const HINT: &str = "Check that the key in GOOGLE_MAPS_API_KEY is whole, that it may use the Routes API, and that billing is on.";

pub(crate) struct Google {
    pub(super) client: Client,
    pub(super) key: Key,
    pub(super) url: Url,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Found {
    routes: Vec<Route>,
    geocoding_results: Geocoding,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Route {
    distance_meters: Option<f64>,
    legs: Vec<Leg>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Leg {
    start_location: Location,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Location {
    lat_lng: Option<Position>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Geocoding {
    origin: Geocoded,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Geocoded {
    geocoder_status: Status,
    partial_match: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    code: i32,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal {
    error: Fault,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Fault {
    status: String,
    details: Vec<Detail>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Detail {
    reason: String,
}

impl Google {
    pub(super) async fn measure(&self, address: &str, profile: Profile) -> Result<Way, Failure> {
        let mode = match profile {
            Profile::Walking => "WALK",
            // TWO_WHEELER is for engines.
            Profile::Cycling => "BICYCLE",
        };
        let body = json!({
            "origin": {"address": address},
            "destination": {"address": OFFICE_ADDRESS},
            "travelMode": mode,
            "languageCode": "fr-FR",
            "regionCode": "FR",
            "units": "METRIC",
        });
        let request = self
            .client
            .post(self.url.clone())
            .header("X-Goog-Api-Key", self.key.reveal())
            .header("X-Goog-FieldMask", FIELDS)
            .header("Content-Type", "application/json")
            .body(body.to_string());
        let answer = call(request).await?;
        match answer.status {
            200 => found(&answer),
            _ => Err(failure(&answer)),
        }
    }
}

fn found(answer: &Answer) -> Result<Way, Failure> {
    let Ok(found) = serde_json::from_slice::<Found>(&answer.body) else {
        return Err(Failure::Passing(None, "an answer of another kind"));
    };
    let origin = found.geocoding_results.origin;
    if origin.geocoder_status.code != 0 {
        return Err(Failure::Flagged(Flag::AddressNotFound));
    }
    if origin.partial_match {
        return Err(Failure::Flagged(Flag::AmbiguousAddress));
    }
    let Some(route) = found.routes.first() else {
        return Err(Failure::Flagged(Flag::NoRoute));
    };
    let leg = route.legs.first();
    Ok(Way {
        // Google leaves out what is zero.
        metres: route.distance_meters.unwrap_or(0.0),
        from: leg.and_then(|leg| leg.start_location.lat_lng),
    })
}

fn failure(answer: &Answer) -> Failure {
    let fault = serde_json::from_slice::<Refusal>(&answer.body)
        .unwrap_or_default()
        .error;
    let reason = |wanted: &str| fault.details.iter().any(|detail| detail.reason == wanted);
    match (answer.status, fault.status.as_str()) {
        (400, _) if reason("API_KEY_INVALID") => refused(NAME, HINT),
        (401 | 403, _) if reason("RATE_LIMIT_EXCEEDED") => exhausted(NAME),
        (401 | 403, _) => refused(NAME, HINT),
        (429, _) | (_, "RESOURCE_EXHAUSTED") => {
            Failure::Passing(answer.retry_after, super::super::QUOTA)
        }
        (status, _) => undocumented(NAME, status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use changes::ErrorKind;

    fn class(status: u16, body: &str) -> String {
        let answer = Answer {
            status,
            retry_after: None,
            body: body.as_bytes().to_vec(),
        };
        match failure(&answer) {
            Failure::Flagged(flag) => format!("flagged {}", flag.as_str()),
            Failure::Passing(..) => "passing".to_owned(),
            Failure::Refused(reason) => format!("refused: {reason}"),
            Failure::Lasting(error) => format!("lasting {:?}", hinted(&error)),
        }
    }

    fn hinted(error: &changes::Error) -> ErrorKind {
        assert!(error.hint_text().is_some(), "{error}");
        error.kind()
    }

    #[test]
    fn only_what_is_documented_for_an_address_is_laid_to_it() {
        for (status, body, expected) in [
            (
                400,
                r#"{"error":{"status":"INVALID_ARGUMENT"}}"#,
                "refused: the question is not understood",
            ),
            (
                400,
                r#"{"error":{"status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#,
                "lasting Unauthenticated",
            ),
            (401, "", "lasting Unauthenticated"),
            (403, "", "lasting Unauthenticated"),
            (
                404,
                r#"{"error":{"status":"NOT_FOUND"}}"#,
                "refused: the question is refused",
            ),
            (422, "", "refused: the question is refused"),
            (429, "", "passing"),
            (302, "", "lasting Unavailable"),
        ] {
            assert_eq!(class(status, body), expected, "{status} {body}");
        }
    }
}
