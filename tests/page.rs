//! The page in a real Chromium: accessible in light and dark, on desktop and phone, whole without script, live with it.

use std::ffi::OsString;
use std::process::Command;

use crate::parts::part;
use crate::project::{Project, text};

const PASSWORD: &str = "correct horse battery";

#[test]
fn the_page_is_accessible_quick_and_live_in_a_real_browser() {
    let (Some(modules), Some(chromium)) = (
        part("SPORTLAKE_TEST_NODE_MODULES"),
        part("SPORTLAKE_TEST_CHROMIUM"),
    ) else {
        return;
    };
    let browser = Browser { modules, chromium };
    let project = Project::new().set("generator.days", "60");
    let mut up = project.start(&["up"]);
    let page = up.address("http://");
    up.wait_for("caught up");
    browser.passes(&["open", &page]);
    up.kill();

    for (user, arguments) in [
        ("rose", ["--role", "rh"].as_slice()),
        ("max", &["--role", "manager", "--attribute", "bu=Marketing"]),
    ] {
        let added = project
            .command(&[&["user", "add", user], arguments].concat())
            .env("SPORTLAKE_PASSWORD", PASSWORD)
            .output()
            .expect("the program runs");
        assert!(added.status.success(), "{}", text(&added.stderr));
    }
    let mut serve = project.start(&["serve"]);
    let page = serve.address("http://");
    for user in ["rose", "max"] {
        browser.passes(&["sign-in", &page, user, PASSWORD]);
    }
}

struct Browser {
    modules: OsString,
    chromium: OsString,
}

impl Browser {
    #[track_caller]
    fn passes(&self, arguments: &[&str]) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/page/browser.js");
        let output = Command::new("node")
            .arg(script)
            .args(arguments)
            .env("NODE_PATH", &self.modules)
            .env("CHROMIUM", &self.chromium)
            .output()
            .expect("node runs");
        let told = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{told}");
    }
}
