//! OpenRouteService: `geocode/search` places the address, `v2/directions` measures the way.
//!
//! Source: its API's reference, with the error codes of the directions (2009 no route, 2010 no road near the place).

use reqwest::{Client, RequestBuilder, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Failure, Key, Profile, Way, call, exhausted, refused, undocumented};
use crate::commute::estimate::{Flag, OFFICE, Position};

const NAME: &str = "OpenRouteService";

const HINT: &str = "Check that the key in ORS_API_KEY is whole and not revoked.";

/// Share of certainty below which a place is a guess.
const CERTAIN: f64 = 0.6;

pub(crate) struct OpenRouteService {
    pub(super) client: Client,
    pub(super) key: Key,
    pub(super) search: Url,
    pub(super) walking: Url,
    pub(super) cycling: Url,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Places {
    features: Vec<Place>,
}

#[derive(Deserialize)]
struct Place {
    geometry: Geometry,
    #[serde(default)]
    properties: Properties,
}

#[derive(Deserialize)]
struct Geometry {
    coordinates: [f64; 2],
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Properties {
    confidence: Option<f64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Directions {
    routes: Vec<Route>,
}

#[derive(Deserialize)]
struct Route {
    summary: Summary,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Summary {
    distance: f64,
}

impl OpenRouteService {
    pub(super) async fn measure(&self, address: &str, profile: Profile) -> Result<Way, Failure> {
        let from = self.place(address).await?;
        let url = match profile {
            Profile::Walking => &self.walking,
            Profile::Cycling => &self.cycling,
        };
        let body = json!({"coordinates": [[from.longitude, from.latitude], [OFFICE.longitude, OFFICE.latitude]]});
        let request = self
            .client
            .post(url.clone())
            .header("Content-Type", "application/json")
            .body(body.to_string());
        let answer = self.ask(request).await?;
        let directions: Directions = read(&answer)?;
        let Some(route) = directions.routes.first() else {
            return Err(Failure::Flagged(Flag::NoRoute));
        };
        Ok(Way {
            metres: route.summary.distance,
            from: Some(from),
        })
    }

    async fn place(&self, address: &str) -> Result<Position, Failure> {
        let request = self.client.get(self.search.clone()).query(&[
            ("text", address),
            ("boundary.country", "FR"),
            ("size", "1"),
        ]);
        let places: Places = read(&self.ask(request).await?)?;
        let Some(place) = places.features.first() else {
            return Err(Failure::Flagged(Flag::AddressNotFound));
        };
        if place
            .properties
            .confidence
            .is_some_and(|share| share < CERTAIN)
        {
            return Err(Failure::Flagged(Flag::AmbiguousAddress));
        }
        let [longitude, latitude] = place.geometry.coordinates;
        Ok(Position {
            latitude,
            longitude,
        })
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Answer, Failure> {
        let answer = call(request.header("Authorization", self.key.reveal())).await?;
        match answer.status {
            200 => Ok(answer),
            _ => Err(failure(&answer)),
        }
    }
}

fn read<'a, T: Deserialize<'a>>(answer: &'a Answer) -> Result<T, Failure> {
    serde_json::from_slice(&answer.body)
        .map_err(|_| Failure::Passing(None, "an answer of another kind"))
}

fn failure(answer: &Answer) -> Failure {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = body["error"]["code"].as_i64();
    let said = body["error"].as_str().unwrap_or_default().to_lowercase();
    match (answer.status, code) {
        (401, _) => refused(NAME, HINT),
        (403, _) if said.contains("quota") => exhausted(NAME),
        (403, _) => refused(NAME, HINT),
        (429, _) => Failure::Passing(answer.retry_after, super::super::QUOTA),
        (_, Some(2009)) => Failure::Flagged(Flag::NoRoute),
        (_, Some(2010)) => Failure::Flagged(Flag::AddressNotFound),
        (_, Some(2004)) => Failure::Flagged(Flag::NoRoute),
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
                404,
                r#"{"error":{"code":2010}}"#,
                "flagged address_not_found",
            ),
            (404, r#"{"error":{"code":2009}}"#, "flagged no_route"),
            (
                400,
                r#"{"error":{"code":2003}}"#,
                "refused: the question is not understood",
            ),
            (401, "", "lasting Unauthenticated"),
            (403, "", "lasting Unauthenticated"),
            (404, "", "refused: the question is refused"),
            (422, "", "refused: the question is refused"),
            (429, "", "passing"),
            (302, "", "lasting Unavailable"),
        ] {
            assert_eq!(class(status, body), expected, "{status} {body}");
        }
    }
}
