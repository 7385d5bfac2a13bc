use std::time::Duration;

use changes::{Error, ErrorKind};
use serde::Deserialize;

use super::Answer;

/// What to do after a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Posted,
    /// The same again, later.
    Retry {
        reason: &'static str,
        after: Option<Duration>,
        /// Whether the message may be there all the same.
        posted: bool,
    },
    /// This message will never be taken; the next one may be.
    Dead(String),
    /// No message will be taken until somebody does something about it.
    Stop(Refusal),
}

/// Why Slack takes no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) kind: ErrorKind,
    pub(crate) hint: &'static str,
}

impl Refusal {
    pub(crate) fn error(&self) -> Error {
        Error::new(
            self.kind,
            format!("Slack refuses to post: \"{}\"", self.code),
        )
        .hint(self.hint)
    }
}

/// The body of a method's answer; errors come with status 200.
#[derive(Deserialize)]
struct Body {
    ok: bool,
    #[serde(default)]
    error: String,
}

pub(super) fn of_method(answer: &Answer) -> Verdict {
    if let Some(verdict) = of_status(answer) {
        return verdict;
    }
    let Ok(body) = serde_json::from_slice::<Body>(&answer.body) else {
        return match answer.status {
            // Something on the way answers in Slack's place.
            200 => retry("answer", answer, true),
            status => stop(&format!("status {status}")),
        };
    };
    if body.ok {
        return Verdict::Posted;
    }
    match body.error.as_str() {
        "ratelimited" | "rate_limited" | "message_limit_exceeded" => retry("rate", answer, false),
        "internal_error"
        | "fatal_error"
        | "service_unavailable"
        | "request_timeout"
        | "team_added_to_org" => retry("server", answer, false),
        error => of_code(error),
    }
}

/// A webhook answers `ok`, or an error's name as plain text with a status of its own.
pub(super) fn of_webhook(answer: &Answer) -> Verdict {
    if let Some(verdict) = of_status(answer) {
        return verdict;
    }
    let body = String::from_utf8_lossy(&answer.body);
    match (answer.status, body.trim()) {
        (200, "ok") => Verdict::Posted,
        (200, _) => retry("answer", answer, true),
        (status @ 300..=399, _) => stop(&format!("status {status}")),
        (_, error) if is_code(error) => of_code(error),
        (status, _) => stop(&format!("status {status}")),
    }
}

fn of_status(answer: &Answer) -> Option<Verdict> {
    match answer.status {
        429 => Some(retry("rate", answer, false)),
        408 => Some(retry("server", answer, false)),
        500..=599 => Some(retry("server", answer, false)),
        _ => None,
    }
}

fn retry(reason: &'static str, answer: &Answer, posted: bool) -> Verdict {
    Verdict::Retry {
        reason,
        after: answer.retry_after,
        posted,
    }
}

/// Names of errors are words; whatever else a proxy sends is not repeated.
fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn of_code(code: &str) -> Verdict {
    match code {
        "msg_too_long"
        | "msg_blocks_too_long"
        | "no_text"
        | "invalid_payload"
        | "invalid_arguments"
        | "invalid_arg_name"
        | "invalid_array_arg"
        | "invalid_blocks"
        | "too_many_attachments"
        | "metadata_too_large" => Verdict::Dead(code.to_owned()),
        code => stop(code),
    }
}

fn stop(code: &str) -> Verdict {
    let (kind, hint) = match code {
        "channel_not_found" => (
            ErrorKind::NotFound,
            "Write the channel's id at notify.channel, and invite the bot into a private channel.",
        ),
        "not_in_channel" => (
            ErrorKind::PermissionDenied,
            "Invite the bot into the channel: /invite @its-name.",
        ),
        "is_archived" | "channel_is_archived" => (
            ErrorKind::NotFound,
            "The channel is archived. Choose another at notify.channel, or unarchive it.",
        ),
        "invalid_auth" | "not_authed" | "token_revoked" | "token_expired" => (
            ErrorKind::Unauthenticated,
            "Slack does not know the token. Copy the bot's token (xoxb-...) from the app's page \"OAuth & Permissions\".",
        ),
        "account_inactive" => (
            ErrorKind::Unauthenticated,
            "The bot's account or workspace is gone. Install the app again and take its new token.",
        ),
        "missing_scope" | "no_permission" | "not_allowed_token_type" => (
            ErrorKind::PermissionDenied,
            "Give the app the scope chat:write on its page \"OAuth & Permissions\", and install it again.",
        ),
        "no_service" | "no_team" | "invalid_token" | "no_active_hooks" | "user_not_found"
        | "status 404" => (
            ErrorKind::NotFound,
            "The webhook is no more, or its address is incomplete. Make a new one on the app's page \"Incoming Webhooks\".",
        ),
        "action_prohibited"
        | "posting_to_general_channel_denied"
        | "restricted_action"
        | "restricted_action_read_only_channel"
        | "access_denied"
        | "ekm_access_denied"
        | "team_access_not_granted"
        | "org_login_required" => (
            ErrorKind::PermissionDenied,
            "An administrator of the workspace forbids it. Ask one, or choose another channel.",
        ),
        _ => (
            ErrorKind::PermissionDenied,
            "Slack's documentation of chat.postMessage and of incoming webhooks says what it means.",
        ),
    };
    Verdict::Stop(Refusal {
        code: if is_code(code) || code.starts_with("status ") {
            code.to_owned()
        } else {
            "an unknown error".to_owned()
        },
        kind,
        hint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            retry_after: (status == 429).then_some(Duration::from_secs(30)),
            body: body.as_bytes().to_vec(),
        }
    }

    fn class(verdict: &Verdict) -> String {
        match verdict {
            Verdict::Posted => "posted".to_owned(),
            Verdict::Retry { reason, posted, .. } => format!("retry {reason} {posted}"),
            Verdict::Dead(code) => format!("dead {code}"),
            Verdict::Stop(refusal) => format!("stop {} {:?}", refusal.code, refusal.kind),
        }
    }

    #[test]
    fn answers_of_the_method() {
        for (status, body, expected) in [
            (200, r#"{"ok":true,"ts":"1.2"}"#, "posted"),
            (
                200,
                r#"{"ok":false,"error":"channel_not_found"}"#,
                "stop channel_not_found NotFound",
            ),
            (
                200,
                r#"{"ok":false,"error":"invalid_auth"}"#,
                "stop invalid_auth Unauthenticated",
            ),
            (
                200,
                r#"{"ok":false,"error":"account_inactive"}"#,
                "stop account_inactive Unauthenticated",
            ),
            (
                200,
                r#"{"ok":false,"error":"msg_too_long"}"#,
                "dead msg_too_long",
            ),
            (
                200,
                r#"{"ok":false,"error":"internal_error"}"#,
                "retry server false",
            ),
            (
                200,
                r#"{"ok":false,"error":"ratelimited"}"#,
                "retry rate false",
            ),
            (
                200,
                r#"{"ok":false,"error":"Bearer xoxb"}"#,
                "stop an unknown error PermissionDenied",
            ),
            (200, "<html>", "retry answer true"),
            (404, "<html>", "stop status 404 NotFound"),
            (429, "", "retry rate false"),
            (503, "", "retry server false"),
        ] {
            assert_eq!(
                class(&of_method(&answer(status, body))),
                expected,
                "{status} {body}"
            );
        }
        let limited = of_method(&answer(429, ""));
        assert!(
            matches!(limited, Verdict::Retry { after: Some(after), .. } if after.as_secs() == 30)
        );
    }

    #[test]
    fn answers_of_a_webhook() {
        for (status, body, expected) in [
            (200, "ok", "posted"),
            (404, "no_service", "stop no_service NotFound"),
            (404, "channel_not_found", "stop channel_not_found NotFound"),
            (
                410,
                "channel_is_archived",
                "stop channel_is_archived NotFound",
            ),
            (
                403,
                "action_prohibited",
                "stop action_prohibited PermissionDenied",
            ),
            (400, "invalid_payload", "dead invalid_payload"),
            (
                400,
                "<html>a page</html>",
                "stop status 400 PermissionDenied",
            ),
            (302, "", "stop status 302 PermissionDenied"),
            (500, "rollup_error", "retry server false"),
            (200, "<html>", "retry answer true"),
        ] {
            assert_eq!(
                class(&of_webhook(&answer(status, body))),
                expected,
                "{status} {body}"
            );
        }
    }
}
