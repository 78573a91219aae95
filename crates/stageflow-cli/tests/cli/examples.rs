//! The examples of the repository do what they show.

use std::{fs, path::Path};

use serde_json::Value;

use crate::kit::{Folder, Said};

/// A folder with a copy of the examples.
fn examples() -> Folder {
    let folder = Folder::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")).unwrap() {
        let entry = entry.unwrap();
        folder.write(entry.file_name().to_str().unwrap(), fs::read(entry.path()).unwrap());
    }
    folder
}

#[test]
fn support_answers_its_ticket() {
    let said = examples().run(&["run", "support.json"]);
    let reply = "\
Re: Your API is down

Hello Ada of Acme,

we see it too, and somebody is on it: ticket T-1042 has paged the engineer on call.

Meanwhile this may help:
  - What a 503 of the API means
  - How to read the status page

(topic: outage, because the ticket says \"down\")
";
    assert_eq!((said.code, said.stdout.as_str()), (0, reply), "{}", said.stderr);
    let row = said.stderr.lines().find(|line| line.starts_with("  page ")).unwrap();
    assert!(row.contains("completed    3 "), "two attempts fail, and the third completes: {row}");
    assert!(said.stderr.contains("  billing   transform  skipped "), "{}", said.stderr);
    assert_eq!(said.stderr.matches("page: retry scheduled").count(), 2);
}

#[test]
fn support_takes_other_tickets_and_refuses_what_nobody_could_answer() {
    let folder = examples();
    let ticket = r#"{"id": "T-7", "customer": "initech", "subject": "Bill", "text": "I was charged twice, please refund."}"#;
    let Said { code, stdout, stderr } = folder.run(&["run", "support.json", "--input", ticket]);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains(
            "\nHello customer,\n\non the free plan a refund takes three days; accounting has ticket T-7.\n"
        ),
        "{stdout}"
    );
    assert!(stdout.contains("  - Refunds\n"), "{stdout}");
    let said = folder.run(&["run", "support.json", "--input", r#"{"id": "T-8", "customer": " "}"#]);
    said.fails(1, "error[INVALID_INPUT]: pipeline `support` failed at stage `admit`").fails(
        1,
        "/customer is a text and has to be a text that is not blank; /subject is missing; /text is missing",
    );
}

#[test]
fn cards_and_addresses_of_the_ticket_go_no_further() {
    let folder = examples();
    let spec = folder.read("support.json").replace(r#""output": "reply""#, r#""output": "clean""#);
    folder.write("clean.json", spec);
    let said = folder.run(&["run", "clean.json", "-q"]);
    let clean: Value = serde_json::from_str(&said.stdout).unwrap();
    let text = clean["text"].as_str().unwrap();
    assert!(text.contains("Write to [email], or charge the card [number] for"), "{text}");
}

#[test]
fn support_is_clean_to_lint() {
    let said = examples().run(&["lint", "support.json"]);
    let stdout = "\
allowed[retry-of-work]: one call of a stage of kind `work` may have its effect 4 times
  = stage: `page`
  = because: who is paged twice knows that it is one ticket

support.json: 13 stages, nothing found
";
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (0, stdout, ""));
}
